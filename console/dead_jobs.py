"""What becomes of dead jobs, in words that commands and pages share."""

from console.words import jobs
from workshed.jobs.prospects import Prospect


def waits(prospect: Prospect) -> str:
    """Say how many of a retry would not run at once, and why; nothing where all would."""
    if not prospect.waits:
        return ""
    has, waits = ("has", "it waits") if prospect.waits == 1 else ("have", "they wait")
    some = f"{prospect.waits} of {jobs(prospect.jobs)}"
    return f"{some} {has} a unique key that another job holds then: {waits} for it."


def stays(unreadable: int) -> str:
    """Say how many cannot be retried; nothing where all can."""
    if not unreadable:
        return ""
    return f"{jobs(unreadable)} cannot be read and {'stays' if unreadable == 1 else 'stay'} dead."
