"""The jobs of the bookshop.

By `once=True`, what a job writes with the ORM happens once, together with the jobs and mails that
it sends: a second delivery does nothing, and after a crash the job starts again. A job with
`once=False` also calls another system; its docstring says what happens then.
"""

import csv
from datetime import timedelta
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.db import connection, transaction
from django.utils import timezone

from store import files, mails, people, reports, suppliers
from store.models import Import, Newsletter, Photo, Product, Supplier, User
from workshed import Batch, RetryOn, Unique, actor, broker, daily
from workshed.contrib import mail, notifications
from workshed.jobs import attempt, scheduled_for

broker.defaults(
    queue="default", time_limit=timedelta(minutes=5), once=True, discard_on=ObjectDoesNotExist
)
mail.declare(queue="emails", retry_on=RetryOn(mail.MailServerError, attempts=5, wait="polynomial"))

ALERT_FROM = 4
"""The first attempt at a sync whose failure alerts the admins."""
AT_ONCE = 100
"""Mails of a newsletter that are sent in one transaction."""


@actor()
def send_welcome_email(user_id: int) -> None:
    """Welcome a user, and remind them in three days."""
    user = User.objects.get(id=user_id)
    mail.deliver_later(connection, mails.welcome(user))
    user.welcomed_at = timezone.now()
    user.save()
    send_reminder.set(delay=timedelta(days=3)).send(user_id)


@actor()
def send_reminder(user_id: int) -> None:
    """Remind a user, unless they have come back or unsubscribed meanwhile."""
    user = User.objects.get(id=user_id)
    if user.activated_at is None and user.unsubscribed_at is None:
        mail.deliver_later(connection, mails.reminder(user))


@actor(queue="images", unique=Unique(), once=False)
def make_thumbnail(photo_id: int, width: int = 800) -> None:
    """Store a smaller version of a photo, and notify the browser of its user.

    Idempotent: the same file is stored once, and notified once.
    On crash: a file to which no row refers is deleted later.
    """
    photo = Photo.objects.get(id=photo_id)
    photo.thumbnail_id = files.shrink(photo.original_id, width)
    with transaction.atomic():
        photo.save(update_fields=["thumbnail"])
        event = {"photo_id": photo_id}
        key = f"{photo_id} {width}"
        notifications.notify(connection, f"{photo.user_id}", "thumbnail_ready", event, key=key)


@actor(queue="low")
def fail_import(message: dict[str, Any], reason: str) -> None:
    """Record why an import failed, and inform its owner by mail."""
    job = Import.objects.get(id=message["args"][0])
    job.error = reason
    job.save()
    mail.deliver_later(connection, mails.import_failed(job))


@actor(queue="low", throws=UnicodeDecodeError, on_dead=fail_import)
def import_users(import_id: int) -> None:
    """Send a job for each row of a CSV file; the last one completes the import."""
    job = Import.objects.get(id=import_id)
    rows = list(csv.DictReader(files.read(job.file_id).decode().splitlines()))
    job.total = len(rows)
    job.save()
    batch = Batch(on_complete=complete_import.message(import_id))
    with batch.adding(connection):
        jobs = (import_row.message(import_id, n, row) for n, row in enumerate(rows, 1))
        batch.add(connection, *jobs)


@actor(queue="low")
def import_row(import_id: int, number: int, row: dict[str, str]) -> None:
    """Create a user from a row, or record what is wrong with it."""
    job = Import.objects.get(id=import_id)
    job.rows.create(number=number, problem=people.create_from_row(row))


@actor(queue="low")
def complete_import(import_id: int) -> None:
    """Complete an import, and send its owner the number of new users."""
    job = Import.objects.get(id=import_id)
    job.completed_at = timezone.now()
    job.save()
    created = job.rows.filter(problem=None).count()
    mail.deliver_later(connection, mails.import_completed(job, created))


@actor(queue="low", periodic=daily("09:00"))
def send_daily_report() -> None:
    """Store the numbers of yesterday, and mail them to the admins."""
    today = scheduled_for() or timezone.now()
    report = reports.create(today.date() - timedelta(days=1))
    for admin in User.objects.filter(is_admin=True):
        mail.deliver_later(connection, mails.daily_report(admin, report))


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
    supplier = Supplier.objects.get(id=supplier_id)
    try:
        products = suppliers.fetch_products(supplier.url)
    except suppliers.SupplierError as error:
        if (number := attempt() or 1) >= ALERT_FROM:
            with transaction.atomic():
                for admin in User.objects.filter(is_admin=True):
                    alert = mails.sync_alert(admin, supplier, number, error)
                    mail.deliver_later(connection, alert)
        raise
    with transaction.atomic():
        for product in products:
            sku = product.pop("sku")
            Product.objects.update_or_create(supplier=supplier, sku=sku, defaults=product)
        supplier.synced_at = timezone.now()
        supplier.save()


@actor(queue="low")
def send_newsletter(newsletter_id: int, after: int = 0) -> None:
    """Mail a newsletter to the next hundred users, and go on with those after them."""
    newsletter = Newsletter.objects.get(id=newsletter_id)
    users = User.objects.filter(id__gt=after, unsubscribed_at=None).order_by("id")[:AT_ONCE]
    for user in users:
        mail.deliver_later(connection, mails.newsletter(user, newsletter))
    if users:
        rest = send_newsletter.set(delay=timedelta(milliseconds=100))
        rest.send(newsletter_id, users[len(users) - 1].id)
