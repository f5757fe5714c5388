"""The jobs of the bookshop.

By `once=True`, what a job writes in `job_session` happens once, together with the jobs and mails
that it sends: a second delivery does nothing, and after a crash the job starts again. A job with
`once=False` also calls another system; its docstring says what happens then.
"""

import csv
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import NoResultFound

from bookshop import files, mails, people, reports, suppliers
from bookshop.models import Import, ImportRow, Newsletter, Photo, Product, Supplier, User
from workshed import Batch, RetryOn, Unique, actor, broker, daily
from workshed.contrib import mail, notifications
from workshed.contrib.sqlalchemy import job_session
from workshed.jobs import attempt, scheduled_for

broker.defaults(
    queue="default", time_limit=timedelta(minutes=5), once=True, discard_on=NoResultFound
)
mail.declare(queue="emails", retry_on=RetryOn(mail.MailServerError, attempts=5, wait="polynomial"))

ALERT_FROM = 4
"""The first attempt at a sync whose failure alerts the admins."""
AT_ONCE = 100
"""Mails of a newsletter that are sent in one transaction."""


@actor()
def send_welcome_email(user_id: int) -> None:
    """Welcome a user, and remind them in three days."""
    with job_session() as session:
        user = session.get_one(User, user_id)
        mail.deliver_later(session, mails.welcome(user))
        user.welcomed_at = datetime.now(UTC)
        send_reminder.set(conn=session, delay=timedelta(days=3)).send(user_id)


@actor()
def send_reminder(user_id: int) -> None:
    """Remind a user, unless they have come back or unsubscribed meanwhile."""
    with job_session() as session:
        user = session.get_one(User, user_id)
        if user.activated_at is None and user.unsubscribed_at is None:
            mail.deliver_later(session, mails.reminder(user))


@actor(queue="images", unique=Unique(), once=False)
def make_thumbnail(photo_id: int, width: int = 800) -> None:
    """Store a smaller version of a photo, and notify the browser of its user.

    Idempotent: the same file is stored once, and notified once.
    On crash: a file to which no row refers is deleted later.
    """
    with job_session() as session:
        original = session.get_one(Photo, photo_id).original
    thumbnail = files.shrink(original, width)
    with job_session() as session:
        photo = session.get_one(Photo, photo_id)
        photo.thumbnail = thumbnail
        event = {"photo_id": photo_id}
        key = f"{photo_id} {width}"
        notifications.notify(session, f"{photo.user_id}", "thumbnail_ready", event, key=key)


@actor(queue="low")
def fail_import(message: dict[str, Any], reason: str) -> None:
    """Record why an import failed, and inform its owner by mail."""
    with job_session() as session:
        job = session.get_one(Import, message["args"][0])
        job.error = reason
        mail.deliver_later(session, mails.import_failed(job))


@actor(queue="low", throws=UnicodeDecodeError, on_dead=fail_import)
def import_users(import_id: int) -> None:
    """Send a job for each row of a CSV file; the last one completes the import."""
    with job_session() as session:
        job = session.get_one(Import, import_id)
        rows = list(csv.DictReader(files.read(job.file).decode().splitlines()))
        job.total = len(rows)
        batch = Batch(on_complete=complete_import.message(import_id))
        with batch.adding(session):
            jobs = (import_row.message(import_id, n, row) for n, row in enumerate(rows, 1))
            batch.add(session, *jobs)


@actor(queue="low")
def import_row(import_id: int, number: int, row: dict[str, str]) -> None:
    """Create a user from a row, or record what is wrong with it."""
    with job_session() as session:
        problem = people.create_from_row(session, row)
        session.add(ImportRow(import_id=import_id, number=number, problem=problem))


@actor(queue="low")
def complete_import(import_id: int) -> None:
    """Complete an import, and send its owner the number of new users."""
    with job_session() as session:
        job = session.get_one(Import, import_id)
        job.completed_at = datetime.now(UTC)
        created = sum(row.problem is None for row in job.rows)
        mail.deliver_later(session, mails.import_completed(job, created))


@actor(queue="low", periodic=daily("09:00"))
def send_daily_report() -> None:
    """Store the numbers of yesterday, and mail them to the admins."""
    with job_session() as session:
        today = scheduled_for() or datetime.now(UTC)
        report = reports.create(session, today.date() - timedelta(days=1))
        for admin in session.scalars(select(User).where(User.is_admin)):
            mail.deliver_later(session, mails.daily_report(admin, report))


@actor(
    queue="critical",
    once=False,
    retry_on=RetryOn(suppliers.SupplierError, attempts=10, wait="polynomial"),
)
def sync_products(supplier_id: int) -> None:
    """Copy the products of a supplier; alert the admins from the fourth failure on.

    Idempotent: a second run copies the products again, and sends no alert twice.
    On crash: all products of a run commit together, or none does.
    """
    with job_session() as session:
        url = session.get_one(Supplier, supplier_id).url
    try:
        products = suppliers.fetch_products(url)
    except suppliers.SupplierError as error:
        if (number := attempt() or 1) >= ALERT_FROM:
            with job_session() as session:
                supplier = session.get_one(Supplier, supplier_id)
                for admin in session.scalars(select(User).where(User.is_admin)):
                    mail.deliver_later(session, mails.sync_alert(admin, supplier, number, error))
        raise
    with job_session() as session:
        for product in products:
            session.merge(Product(supplier_id=supplier_id, **product))
        session.get_one(Supplier, supplier_id).synced_at = datetime.now(UTC)


@actor(queue="low")
def send_newsletter(newsletter_id: int, after: int = 0) -> None:
    """Mail a newsletter to the next hundred users, and go on with those after them."""
    with job_session() as session:
        newsletter = session.get_one(Newsletter, newsletter_id)
        waiting = select(User).where(User.id > after, User.unsubscribed_at.is_(None))
        users = session.scalars(waiting.order_by(User.id).limit(AT_ONCE)).all()
        for user in users:
            mail.deliver_later(session, mails.newsletter(user, newsletter))
        if users:
            rest = send_newsletter.set(conn=session, delay=timedelta(milliseconds=100))
            rest.send(newsletter_id, users[-1].id)
