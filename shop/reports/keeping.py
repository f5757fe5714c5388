"""Delete reports, and the mails that brought them, when they were kept for long enough."""

from datetime import timedelta

from shop.reports import mail, snapshots
from workshed.jobs.maintenance import retention


def prune(older_than: timedelta) -> dict[str, int]:
    """Delete both in small batches, and return how many of each.

    What the mails had attached is a content that nothing refers to then, and is swept as such.
    """
    return {
        "mails of reports": retention.all_of(mail.prune, older_than),
        "reports": retention.all_of(snapshots.prune, older_than),
    }
