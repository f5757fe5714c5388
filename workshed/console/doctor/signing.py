"""Check whether messages are signed, and whether unsigned ones are accepted."""

from collections.abc import Iterator

from workshed.console.doctor.context import DoctorContext
from workshed.console.operations.finding import Finding, ok, warning
from workshed.transport.messages.signing import build_signing


def check_signing(here: DoctorContext) -> Iterator[Finding]:
    """Show the names of the keys, so that hosts can be compared; never the keys."""
    found = build_signing(here.settings)
    if found is None:
        yield ok("WORKSHED_SIGNING_KEYS is not set: anyone who may publish may run any actor")
        return
    newest, *others = found.key_ids
    kept = f", and {', '.join(others)} accepted" if others else ""
    if found.required:
        yield ok(f"messages are signed by key {newest}{kept}; all others become dead jobs")
    else:
        said = f"messages are signed by key {newest}{kept}, but unsigned ones run too"
        yield warning(said, "export WORKSHED_SIGNING=require  (once no unsigned messages arrive)")
