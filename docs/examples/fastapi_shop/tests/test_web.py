"""The web application sends its jobs in the transaction of the request."""

import pytest
from fastapi.testclient import TestClient

from bookshop import jobs as shop
from bookshop.database import SessionLocal
from bookshop.web import begin, web


@pytest.fixture
def client(jobs):
    return TestClient(web, raise_server_exceptions=False)


def test_a_user_who_signs_up_is_welcomed(jobs, client):
    answer = client.post("/users", json={"name": "Ada", "email": "ada@example.org"})

    assert answer.status_code == 201
    jobs.assert_enqueued(shop.send_welcome_email, answer.json()["id"], queue="default")


def test_a_request_that_fails_sends_no_job(jobs, client, monkeypatch):
    def fail():
        with SessionLocal.begin() as session:
            yield session
            raise RuntimeError("after the send")

    monkeypatch.setitem(web.dependency_overrides, begin, fail)

    answer = client.post("/users", json={"name": "Ada", "email": "ada@example.org"})

    assert answer.status_code == 500
    jobs.refute_enqueued(shop.send_welcome_email)


def test_uploads_are_stored_and_their_jobs_sent(jobs, client, ada, jpeg):
    photo = client.post(
        f"/users/{ada}/photos", content=jpeg, headers={"content-type": "image/jpeg"}
    )
    file = client.post(
        f"/users/{ada}/imports", content=b"name,email\n", headers={"content-type": "text/csv"}
    )

    jobs.assert_enqueued(shop.make_thumbnail, photo.json()["id"], queue="images")
    jobs.assert_enqueued(shop.import_users, file.json()["id"], queue="low")
    jobs.drain()
    [notification] = client.get(f"/users/{ada}/notifications").json()
    assert notification["event"] == "thumbnail_ready"


def test_a_newsletter_is_sent(jobs, client):
    answer = client.post("/newsletters", json={"subject": "News", "text": "Hello\n"})

    jobs.assert_enqueued(shop.send_newsletter, answer.json()["id"])
