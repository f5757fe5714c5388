"""The checks of an application, as its `workshed.App` names them."""

from collections.abc import Iterator, Sequence
from functools import partial

from workshed.app import load
from workshed.console.doctor.run import Check
from workshed.console.doctor.surroundings import DoctorContext
from workshed.console.operations.finding import Finding, failed
from workshed.errors import SettingsError


def application_checks(names: Sequence[str], known: set[str]) -> Iterator[Check]:
    """Yield the checks that are named; for each name that leads to none, one that has failed.

    `known`: the names of the checks before them, on which they may depend.
    """
    known = set(known)
    for name in names:
        try:
            found = checked(load(name), known)
        except Exception as err:  # noqa: BLE001 -- all other checks are to be seen
            yield Check(name, partial(unfound, err))
        else:
            known |= {check.name for check in found}
            yield from found


def unfound(error: Exception, _here: DoctorContext) -> list[Finding]:
    """Say why there is no such check."""
    of = "" if isinstance(error, SettingsError) else f"{type(error).__name__}: "
    return [failed(f"{of}{str(error).strip()}", "correct `checks` of your App")]


def checked(found: object, known: set[str]) -> tuple[Check, ...]:
    """Return what was named as checks; raises `SettingsError` where they cannot be run."""
    checks = (found,) if isinstance(found, Check) else found
    if not isinstance(checks, (tuple, list)):
        raise SettingsError(
            f"it is of type {type(found).__name__}; name a Check, or a tuple of them"
        )
    known = set(known)
    for check in checks:
        if not isinstance(check, Check):
            raise SettingsError(f"one of its checks is of type {type(check).__name__}")
        if check.name in known:
            raise SettingsError(f"there is a check {check.name!r} already")
        if missing := {*check.needs, *check.after} - known:
            raise SettingsError(
                f"check {check.name!r} needs {', '.join(sorted(missing))}, which is not before it"
            )
        known.add(check.name)
    return tuple(checks)
