"""Delete reports and their emails when their retention time is over."""

from datetime import timedelta

from shop.reports import mail, snapshots
from workshed.jobs.maintenance import retention


def prune_reports(older_than: timedelta) -> dict[str, int]:
    """Delete both in small batches, and return how many of each.

    Nothing refers to the contents of their attachments afterwards, so these are swept later.
    """
    return {
        "mails of reports": retention.prune_all(mail.prune_mails, older_than),
        "reports": retention.prune_all(snapshots.prune_snapshots, older_than),
    }
