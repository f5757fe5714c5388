"""The views send their jobs in the transaction of the request."""

import pytest

from store import jobs as shop
from store import views

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_user_who_signs_up_is_welcomed(jobs, client):
    answer = client.post(
        "/users", {"name": "Ada", "email": "ada@example.org"}, content_type="application/json"
    )

    assert answer.status_code == 201
    jobs.assert_enqueued(shop.send_welcome_email, answer.json()["id"], queue="default")


def test_a_request_that_fails_sends_no_job(jobs, client, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("after the send")

    monkeypatch.setattr(views, "JsonResponse", fail)
    client.raise_request_exception = False

    answer = client.post(
        "/users", {"name": "Ada", "email": "ada@example.org"}, content_type="application/json"
    )

    assert answer.status_code == 500
    jobs.refute_enqueued(shop.send_welcome_email)


def test_uploads_are_stored_and_their_jobs_sent(jobs, client, ada, jpeg):
    photo = client.post(f"/users/{ada.id}/photos", jpeg, content_type="image/jpeg")
    file = client.post(f"/users/{ada.id}/imports", b"name,email\n", content_type="text/csv")

    jobs.assert_enqueued(shop.make_thumbnail, photo.json()["id"], queue="images")
    jobs.assert_enqueued(shop.import_users, file.json()["id"], queue="low")
    jobs.drain()
    [notification] = client.get(f"/users/{ada.id}/notifications").json()
    assert notification["event"] == "thumbnail_ready"


def test_a_newsletter_is_sent(jobs, client):
    letter = {"subject": "News", "text": "Hello\n"}

    answer = client.post("/newsletters", letter, content_type="application/json")

    jobs.assert_enqueued(shop.send_newsletter, answer.json()["id"])
