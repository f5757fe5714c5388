"""The findings of `workshed doctor` about the storage."""

import time

import pytest

from workshed.console.doctor import build_context, list_checks, run_checks
from workshed.console.doctor.run import DEADLINE_S
from workshed.contrib.storage.check import PROBE_TIMEOUTS
from workshed.contrib.storage.timeouts import DEFAULT_TIMEOUTS
from workshed.settings import settings


@pytest.fixture
def found(monkeypatch):
    """`found("file:…")`: the findings of the check and of `environment`."""
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")

    def look(url):
        monkeypatch.setenv("WORKSHED_STORAGE_URL", url)
        settings.cache_clear()
        here = build_context(("actors",), 1, 8)
        names = ("environment", "storage")
        done = run_checks(here, [check for check in list_checks(here) if check.name in names])
        return done["storage"], done["environment"]

    return look


def test_a_place_that_can_be_used(kept, found, store):
    name = store(kept.storage, b"hello")

    [finding], _ = found(kept.url)

    assert (finding.level, finding.message) == ("ok", f"contents are kept in {kept.storage}")
    assert [path.rpartition("/")[2] for path in kept.visible()] == [name]


def test_a_folder_that_is_not_there_yet_is_not_made(folder, found):
    [finding], _ = found(folder.url)

    assert finding.level == "ok"
    assert "which the first one creates" in finding.message
    assert not folder.folder.parent.exists()


def test_a_folder_that_cannot_be_made(folder, found, tmp_path):
    (tmp_path / "var").write_text("")

    [finding], _ = found(folder.url)

    assert finding.level == "failed"
    assert finding.fix == f"chown $USER {tmp_path}/var"


def test_a_file_where_the_folder_should_be(folder, found):
    folder.folder.parent.mkdir()
    folder.folder.write_text("")

    [finding], _ = found(folder.url)

    assert finding.level == "failed"
    assert "it must be a folder that this user may write" in finding.message


def test_a_bucket_that_is_not_there(bucket, found):
    [finding], _ = found(bucket.url.replace(bucket.name, "nowhere"))

    assert finding.level == "failed"
    assert "there is no such bucket" in finding.message
    assert "CANARY" not in finding.message + finding.fix


@pytest.mark.parametrize("away", ["127.0.0.1:9", "silent"])
def test_an_s3_that_is_away_is_named(found, silent, away):
    """With the usual timeouts the check would hang until its deadline, and name no server."""
    address = silent if away == "silent" else away
    started = time.monotonic()

    [finding], _ = found(f"s3://key:secretcanary@pictures?endpoint=http://{address}")

    assert time.monotonic() - started < DEFAULT_TIMEOUTS.answer.total_seconds()
    assert finding.level == "failed"
    assert address in finding.message
    assert "secretcanary" not in finding.message + finding.fix


@pytest.mark.parametrize("url", ["s3://", "s3://secretcanary@bucket", "file://host/folder"])
def test_an_invalid_url_is_reported_without_quoting_it(found, url):
    [finding], _ = found(url)

    assert finding.level == "failed"
    assert finding.message.startswith("WORKSHED_STORAGE_URL: ")
    assert "secretcanary" not in finding.message + finding.fix


def test_its_patience_is_below_the_deadline():
    longest = PROBE_TIMEOUTS.answer + PROBE_TIMEOUTS.retries
    assert longest.total_seconds() < DEADLINE_S
