"""Errors of S3 without secrets, and what its client reads from `AWS_*`."""

import hashlib
import traceback
from datetime import timedelta

import pytest

from workshed.contrib.storage import StorageError, create_storage
from workshed.contrib.storage.timeouts import StorageTimeouts

NAME = hashlib.sha256(b"hello").hexdigest()
CANARY = "s3cr3t/canary+x"
QUOTED = "s3cr3t%2Fcanary%2Bx"
SHORT = StorageTimeouts(retries=timedelta(seconds=1))


def at(address, login=f"key:{QUOTED}@"):
    return create_storage(f"s3://{login}pictures?region=eu-west-1&endpoint=http://{address}", SHORT)


def attempts(storage, store):
    """Return a call of each operation of a storage."""

    def read():
        with storage.open(NAME) as file:
            file.read()

    return [lambda: store(storage, b"hello"), read, lambda: storage.delete(NAME)]


def errors(storage, store):
    """Return the traceback of each operation's error."""
    found = []
    for attempt in attempts(storage, store):
        with pytest.raises(StorageError) as error:
            attempt()
        found.append("".join(traceback.format_exception(error.value)))
    return found


@pytest.mark.parametrize(
    ("code", "status"),
    [("InvalidAccessKeyId", 403), ("SignatureDoesNotMatch", 403), ("Teapot", 418), ("Bad", 400)],
)
def test_no_secret_is_in_what_is_raised(store, talkative, code, status):
    """Logs, the dead table and Sentry keep errors."""
    s3 = talkative(code, status, CANARY)

    found = errors(at(s3.address), store)

    assert s3.requests
    for said in found:
        assert "s3://pictures at http://127.0.0.1" in said
        assert CANARY not in said
        assert QUOTED not in said
        assert "Signature=" not in said
        assert "Credential=" not in said


def test_a_refused_login_says_what_to_do(store, talkative):
    found = errors(at(talkative("InvalidAccessKeyId").address), store)

    assert all("refuses the credentials" in said for said in found)


def test_a_deletion_that_is_refused_in_an_answer_of_success_is_refused(talkative):
    """S3 answers like this to bulk deletions; otherwise the row would go and the content stay."""
    with pytest.raises(StorageError, match="refuses the credentials"):
        at(talkative("AccessDenied", 200).address).delete(NAME)
    with pytest.raises(StorageError, match="it answered Odd"):
        at(talkative("Odd", 200).address).delete(NAME)


def test_deleting_a_missing_content_succeeds_despite_an_error(talkative):
    at(talkative("NoSuchKey", 200).address).delete(NAME)


def test_a_missing_bucket_is_no_missing_content(s3_server, store):
    """A job gives up permanently if its image is gone; a missing bucket is a mistake to fix."""
    found = errors(
        create_storage(f"s3://key:{QUOTED}@nowhere?region=eu-west-1&endpoint={s3_server}"), store
    )

    assert all("there is no such bucket" in said for said in found)


def test_another_web_server_is_not_taken_for_s3(store, talkative):
    """Its 404 does not mean a missing content."""
    with pytest.raises(StorageError, match="this is not S3"):
        store(at(talkative("Nothing here", 404).address), b"hello")


def test_an_aborted_answer_is_reported(talkative):
    store = at(talkative("", 200).address)

    with pytest.raises(StorageError, match="closed the connection"), store.open(NAME):
        pass


def test_without_credentials_it_says_where_to_set_them(store, s3_server):
    found = errors(at(s3_server.removeprefix("http://"), login=""), store)

    assert all("AWS_ACCESS_KEY_ID" in said for said in found)


# Settings from AWS_*


def test_credentials_and_region_are_those_of_the_environment(monkeypatch, talkative):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "KEYOFENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "TOKENOFENV")
    monkeypatch.setenv("AWS_REGION", "eu-south-7")

    s3 = talkative("x")

    with pytest.raises(StorageError):
        create_storage(f"s3://pictures?endpoint=http://{s3.address}").delete(NAME)

    [headers, *_] = s3.requests
    assert "Credential=KEYOFENV/" in headers["Authorization"]
    assert "/eu-south-7/s3/" in headers["Authorization"]
    assert headers["x-amz-security-token"] == "TOKENOFENV"


def test_the_credentials_of_the_url_stand_without_those_of_the_environment(monkeypatch, talkative):
    """With the session token of another key, every request is refused."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "KEYOFENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "TOKENOFENV")
    monkeypatch.setenv("AWS_REGION", "eu-south-7")

    s3 = talkative("x")

    with pytest.raises(StorageError):
        at(s3.address).delete(NAME)

    [headers, *_] = s3.requests
    assert "Credential=key/" in headers["Authorization"]
    assert "/eu-west-1/s3/" in headers["Authorization"]
    assert headers["x-amz-security-token"] is None


def test_nothing_is_sent_in_clear_unless_the_url_says_http(monkeypatch, store, talkative):
    s3 = talkative("x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{s3.address}")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")

    errors(create_storage(f"s3://key:{QUOTED}@pictures?region=eu-west-1"), store)

    assert s3.requests == []
