"""The jobs, run by the kit's fixture `jobs` on a real PostgreSQL."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.utils import timezone
from PIL import Image

from store import files, suppliers
from store import jobs as shop
from store.models import DailyReport, Import, Newsletter, Order, Photo, Product, Supplier, User
from workshed import db
from workshed.contrib import notifications

pytestmark = pytest.mark.django_db(transaction=True)

CSV = b"name,email\nBob,bob@example.org\nEve,\nAda,ada@example.org\n"


def subjects(jobs):
    return [mail["Subject"] for mail in jobs.mailbox]


def test_a_user_is_welcomed_and_reminded_in_three_days(jobs, ada):
    now = jobs.freeze()

    jobs.perform(shop.send_welcome_email, ada.id)

    ada.refresh_from_db()
    assert ada.welcomed_at == now
    jobs.assert_enqueued(shop.send_reminder, ada.id, in_=timedelta(days=3))
    jobs.drain()
    assert subjects(jobs) == ["Welcome to the bookshop"]
    jobs.advance(days=3)
    jobs.drain()
    assert subjects(jobs) == ["Welcome to the bookshop", "Your books are waiting"]


def test_a_user_who_is_gone_is_not_welcomed(jobs):
    with jobs.expect_discard("DoesNotExist"):
        jobs.perform(shop.send_welcome_email, 404)


def test_a_user_who_came_back_is_not_reminded(jobs, ada):
    ada.activated_at = timezone.now()
    ada.save()

    jobs.perform(shop.send_reminder, ada.id)

    jobs.drain()
    assert jobs.mailbox == []


def test_a_photo_gets_one_thumbnail_and_its_user_one_notification(jobs, ada, jpeg):
    photo = Photo.objects.create(user=ada, original_id=files.keep(jpeg))
    first, second = shop.make_thumbnail.send(photo.id), shop.make_thumbnail.send(photo.id)

    assert first.message_id == second.message_id
    assert jobs.drain() == 1

    with db.transaction() as conn:
        [notification] = notifications.after(conn, f"{ada.id}", 0, 10)
    assert notification.data == {"photo_id": photo.id}
    photo.refresh_from_db()
    with files.storage().open(photo.thumbnail_id) as file:
        assert Image.open(file).size == (800, 600)


def test_an_import_creates_users_and_reports_to_its_owner(jobs, ada):
    job = Import.objects.create(owner=ada, file_id=files.keep(CSV))
    shop.import_users.send(job.id)

    jobs.drain()

    assert dict(job.rows.values_list("number", "problem")) == {
        1: None,
        2: "name or email address is missing",
        3: "the email address is taken",
    }
    job.refresh_from_db()
    assert job.completed_at is not None
    assert jobs.mailbox[0].get_content() == "1 of 3 rows are new users.\n"


def test_a_file_that_is_no_text_fails_its_import(jobs, ada):
    job = Import.objects.create(owner=ada, file_id=files.keep(b"\xff\xfe"))
    shop.import_users.send(job.id)

    with pytest.raises(UnicodeDecodeError):
        jobs.drain()

    job.refresh_from_db()
    assert "utf-8" in job.error
    assert subjects(jobs) == ["Your import failed"]


@pytest.mark.parametrize("job", [shop.import_users, shop.complete_import])
def test_an_import_has_its_effect_once_whatever_crashes(jobs, ada, job):
    found = Import.objects.create(owner=ada, file_id=files.keep(CSV))

    jobs.assert_idempotent(job, found.id)


def test_the_report_of_a_day_is_mailed_to_the_admins(jobs, ada):
    yesterday = datetime(2026, 10, 31, 12, tzinfo=UTC)
    User.objects.create(name="Bob", email="bob@example.org", created_at=yesterday)
    Order.objects.create(user=ada, total_cents=1250, created_at=yesterday)

    jobs.perform_periodic(
        shop.send_daily_report, scheduled_for=datetime(2026, 11, 1, 9, tzinfo=UTC)
    )

    report = DailyReport.objects.get(day=date(2026, 10, 31))
    assert (report.new_users, report.orders, report.revenue_cents) == (1, 1, 1250)
    jobs.drain()
    assert [mail["To"] for mail in jobs.mailbox] == ["Ada <ada@example.org>"]


def test_a_sync_is_retried_later_each_time_and_alerts_from_the_fourth_failure(
    jobs, ada, monkeypatch
):
    def fail(url):
        raise suppliers.SupplierError(f"{url} is away")

    monkeypatch.setattr(suppliers, "fetch_products", fail)
    shop.sync_products.send(Supplier.objects.create(url="https://books.example.org").id)

    for attempt in range(1, 5):
        assert jobs.mailbox == []
        seconds = attempt**4 + 15
        with jobs.expect_retry(
            after=timedelta(seconds=seconds), within=timedelta(seconds=15, milliseconds=500)
        ):
            jobs.drain()
        jobs.advance(seconds=seconds + 16)

    product = {"sku": "1", "name": "Dune", "price_cents": 900}
    monkeypatch.setattr(suppliers, "fetch_products", lambda url: [product])
    jobs.drain()
    assert subjects(jobs) == ["A sync is failing"]
    assert [found.name for found in Product.objects.all()] == ["Dune"]


def test_a_newsletter_reaches_all_users_a_hundred_at_a_time(jobs, ada):
    User.objects.bulk_create(User(name=f"{n}", email=f"{n}@example.org") for n in range(149))
    User.objects.create(name="Bob", email="bob@example.org", unsubscribed_at=timezone.now())
    newsletter = Newsletter.objects.create(subject="News", text="Hello\n")
    jobs.freeze()
    shop.send_newsletter.send(newsletter.id)

    for sent in (100, 150):
        jobs.drain()
        assert len(jobs.mailbox) == sent
        jobs.advance(seconds=1)

    assert "bob@example.org" not in {mail["To"] for mail in jobs.mailbox}
