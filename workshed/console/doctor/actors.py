"""Check that the actors can be imported, or list those that workers have declared."""

import traceback
from collections.abc import Iterator

from workshed.console.doctor.context import DoctorContext
from workshed.console.operations.environment import import_actors
from workshed.console.operations.finding import Finding, failed, ok, warning
from workshed.errors import WorkshedError
from workshed.middleware.composition import callbacks
from workshed.transport import build
from workshed.transport.errors import StrayActorsError
from workshed.transport.strays import refuse_stray_actors


def check_actors(here: DoctorContext) -> Iterator[Finding]:
    """Import the actors, or read from the database which ones workers have declared."""
    if here.packages:
        yield from check_imports(here)
    elif found := len(here.declared_actors):
        yield ok(f"{found} {'actor' if found == 1 else 'actors'} declared by workers")
    else:
        said = "no worker has declared an actor in this database"
        yield warning(said, "workshed doctor --import PACKAGE  (or start a worker)")


def check_imports(here: DoctorContext) -> Iterator[Finding]:
    """Import the packages given by `--import`."""
    names = " ".join(here.packages)
    try:
        import_actors(here.packages)
        refuse_stray_actors(build.get_broker())
    except StrayActorsError as err:
        yield failed(str(err), "from workshed import broker")
    except WorkshedError as err:
        yield failed(str(err), "workshed doctor --import PACKAGE")
    except Exception as err:  # noqa: BLE001 -- whatever their code raises
        last = traceback.extract_tb(err.__traceback__)[-1]
        said = f"{names} cannot be imported: {type(err).__name__}: {err}"
        yield failed(said, f"look at {last.filename}:{last.lineno}")
    else:
        found = len(build.get_broker().actors)
        try:
            callbacks.check_callbacks(build.get_broker())
        except WorkshedError as err:
            yield failed(str(err), "correct the name, or import the module that has the actor")
        if found:
            yield ok(f"{found} {'actor' if found == 1 else 'actors'} in {names}")
        else:
            yield warning(f"no actor in {names}", "workshed doctor --import PACKAGE")
