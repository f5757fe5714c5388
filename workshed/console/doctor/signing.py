"""Who may write a job: anyone who may publish, or anyone who has a key."""

from collections.abc import Iterator

from workshed.console.doctor.surroundings import DoctorContext
from workshed.console.operations.finding import Finding, ok, warning
from workshed.transport.messages.signing import build_signing


def check(here: DoctorContext) -> Iterator[Finding]:
    """Name the keys, so that hosts can be compared; show none."""
    found = build_signing(here.settings)
    if found is None:
        yield ok("no WORKSHED_SIGNING_KEYS is set: anyone who may publish may run any actor")
        return
    newest, *others = found.names
    kept = f", and {', '.join(others)} accepted" if others else ""
    if found.required:
        yield ok(f"messages are signed by key {newest}{kept}; all others are dead")
    else:
        said = f"messages are signed by key {newest}{kept}; but unsigned ones run, too"
        yield warning(said, "export WORKSHED_SIGNING=require  (once nothing unsigned comes)")
