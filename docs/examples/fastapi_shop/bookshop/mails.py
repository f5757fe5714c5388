"""The texts of all mails."""

from bookshop.models import DailyReport, Import, Newsletter, Supplier, User
from workshed.contrib.mail import ALERT, BULK, SINGLE, Draft


def welcome(user: User) -> Draft:
    """Welcome a new user."""
    return draft("welcome", user, "Welcome to the bookshop", f"Hello {user.name}!\n")


def reminder(user: User) -> Draft:
    """Remind a user who has not come back."""
    return draft("reminder", user, "Your books are waiting", f"Hello {user.name}, come back!\n")


def import_completed(job: Import, created: int) -> Draft:
    """Report the result of an import to its owner."""
    text = f"{created} of {job.total} rows are new users.\n"
    return draft("import", job.owner, "Your import is complete", text, about=f"{job.id}")


def import_failed(job: Import) -> Draft:
    """Tell the owner why an import failed."""
    return draft("import_failed", job.owner, "Your import failed", f"{job.error}\n", f"{job.id}")


def daily_report(admin: User, report: DailyReport) -> Draft:
    """Send the numbers of a day to an admin."""
    text = f"{report.new_users} new users, {report.orders} orders, {report.revenue_cents} cents\n"
    return draft("report", admin, f"The bookshop on {report.day}", text, about=f"{report.day}")


def sync_alert(admin: User, supplier: Supplier, attempt: int, error: object) -> Draft:
    """Alert an admin that a sync keeps failing."""
    text = f"Attempt {attempt} at {supplier.url} failed: {error}\n"
    about = f"{supplier.id} {attempt} {supplier.synced_at}"
    return draft("sync_alert", admin, "A sync is failing", text, about, priority=ALERT)


def newsletter(user: User, sent: Newsletter) -> Draft:
    """Send a newsletter to a user, after all other mails."""
    return draft("newsletter", user, sent.subject, sent.text, about=f"{sent.id}", priority=BULK)


def draft(
    kind: str, user: User, subject: str, text: str, about: str = "", priority: int = SINGLE
) -> Draft:
    """Draft a mail, which is sent once for each kind, user and `about`."""
    return Draft(
        kind=kind,
        user_id=f"{user.id}",
        about=about,
        recipient=user.email,
        recipient_name=user.name,
        subject=subject,
        text_body=text,
        priority=priority,
    )
