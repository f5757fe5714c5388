"""The checks of an application, from its `workshed.App`."""

from collections.abc import Iterator, Sequence
from functools import partial

from workshed.app import load_object
from workshed.console.doctor.context import DoctorContext
from workshed.console.doctor.run import Check
from workshed.console.operations.finding import Finding, failed
from workshed.errors import SettingsError


def load_application_checks(names: Sequence[str], known: set[str]) -> Iterator[Check]:
    """Yield the named checks; for each name that cannot be loaded, a check that fails.

    `known`: names of earlier checks, on which they may depend.
    """
    known = set(known)
    for name in names:
        try:
            found = validate_checks(load_object(name), known)
        except Exception as err:  # noqa: BLE001 -- the other checks must still run
            yield Check(name, partial(report_load_error, err))
        else:
            known |= {check.name for check in found}
            yield from found


def report_load_error(error: Exception, _here: DoctorContext) -> list[Finding]:
    """Return a finding that says why a check could not be loaded."""
    of = "" if isinstance(error, SettingsError) else f"{type(error).__name__}: "
    return [failed(f"{of}{str(error).strip()}", "correct `checks` of your App")]


def validate_checks(found: object, known: set[str]) -> tuple[Check, ...]:
    """Return the loaded object as checks; raises `SettingsError` if they cannot be run."""
    checks = (found,) if isinstance(found, Check) else found
    if not isinstance(checks, (tuple, list)):
        raise SettingsError(
            f"it is of type {type(found).__name__}; it must be a Check, or a tuple of them"
        )
    known = set(known)
    for check in checks:
        if not isinstance(check, Check):
            raise SettingsError(f"one of its checks is of type {type(check).__name__}")
        if check.name in known:
            raise SettingsError(f"there is a check {check.name!r} already")
        if missing := {*check.needs, *check.after} - known:
            raise SettingsError(
                f"check {check.name!r} needs {', '.join(sorted(missing))} before it in the list"
            )
        known.add(check.name)
    return tuple(checks)
