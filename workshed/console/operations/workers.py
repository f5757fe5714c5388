"""Find worker processes by id or HOST:PID; quiet or resume them."""

from collections.abc import Iterable, Sequence

from workshed.console.errors import NotFoundError
from workshed.console.operations.operation import Operation
from workshed.database.postgres import Connection
from workshed.jobs.control import workers
from workshed.jobs.control.workers import Worker
from workshed.transport.errors import did_you_mean


def require_workers(conn: Connection, names: Iterable[str]) -> dict[str, Worker]:
    """Return the workers of these ids, or of these hosts and pids (`web-1:101`).

    Raises `NotFoundError` before anything is written.
    """
    found = workers.list_workers(conn)
    return {name: pick_worker(found, name) for name in names}


def pick_worker(found: Sequence[Worker], name: str) -> Worker:
    """Return the worker with this name; of several, the one that is alive.

    Raises `NotFoundError` for none or several, because containers may share a host name.
    """
    named = [one for one in found if name in (one.id, one.name)]
    wanted = [one for one in named if one.alive] or named
    match wanted:
        case [one]:
            return one
        case []:
            likely = did_you_mean(name, [one.name for one in found])
            raise NotFoundError(
                f"no worker {name!r}{likely}: it has exited; see `workshed workers`"
            )
    ids = ", ".join(one.id for one in wanted)
    raise NotFoundError(f"{len(wanted)} workers are named {name}; use the id of one: {ids}")


def _find_workers(conn: Connection, names: Sequence[str]) -> dict[str, Worker]:
    return {worker.name: worker for worker in require_workers(conn, names).values()}


def _quiet_worker(conn: Connection, worker: Worker) -> str:
    if not workers.quiet_worker(conn, worker.id):
        return "gone"
    return "was quiet" if worker.quiet_at else "quiet"


def _resume_worker(conn: Connection, worker: Worker) -> str:
    if not workers.resume_worker(conn, worker.id):
        return "gone"
    return "resumed" if worker.quiet_at else "was not quiet"


QUIET = Operation(
    "workers.quiet",
    "worker",
    _find_workers,
    _quiet_worker,
    changed={
        "quiet": "Within 3 s it starts no more jobs; running jobs finish, the others are requeued."
    },
    unchanged=("was quiet",),
)
RESUME = Operation(
    "workers.resume",
    "worker",
    _find_workers,
    _resume_worker,
    changed={"resumed": "Takes effect within 3 s."},
    unchanged=("was not quiet",),
)
