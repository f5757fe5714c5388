"""Delete reports and their emails when their retention time is over."""

from datetime import timedelta

from shop.reports import mail, snapshots
from workshed.jobs.maintenance import retention


def prune(older_than: timedelta) -> dict[str, int]:
    """Delete both in small batches, and return how many of each.

    Nothing refers to the contents of their attachments afterwards, so these are swept later.
    """
    return {
        "mails of reports": retention.all_of(mail.prune, older_than),
        "reports": retention.all_of(snapshots.prune, older_than),
    }
