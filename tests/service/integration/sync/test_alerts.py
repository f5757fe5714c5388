"""Who gets alerts about a failing source, and how often."""

import pytest

import actors
from actors import sync_critical_data, sync_record
from shop import sync
from shop.demo.faulty_api import FAULTS
from shop.sync.errors import (
    WrongAnswerError,
)
from tests.service.integration.sync.conftest import SIX, drain, run_all, sent
from workshed import db


def subjects(jobs):
    return sorted((str(mail["To"]), str(mail["Subject"])) for mail in jobs.mailbox)


def test_the_fourth_failed_run_alerts_once_per_window(jobs, six, state):
    jobs.freeze()
    reported, windows = [], set()
    six.queue_faults(*["500"] * 7)
    sync_critical_data.send("crm")
    for number in range(7):
        drain(jobs)
        if number >= 3:
            windows.add(state().now.replace(minute=0, second=0))
        reported.append((len(jobs.mailbox), 2 * len(windows)))
        jobs.advance(minutes=30)

    assert reported[:3] == [(0, 0)] * 3
    assert all(mails == wanted for mails, wanted in reported)
    assert 1 < len(windows) < 4
    assert {to.partition("@")[0].rpartition("<")[2] for to, _ in subjects(jobs)} == {"ada", "bob"}
    assert {subject for _, subject in subjects(jobs)} == {"crm: the sync fails"}
    assert state().failed_runs == 7


def test_in_one_window_there_is_one(jobs, six, use):
    use(SYNC_ALERT_WINDOW="86400000")
    six.queue_faults(*["500"] * 10)
    sync_critical_data.send("crm")
    run_all(jobs)

    failing = [mail for mail in subjects(jobs) if mail[1] == "crm: the sync fails"]
    assert len(failing) == 2


def test_each_source_has_its_own_alerts(jobs, six, use):
    use(SYNC_ALERT_WINDOW="86400000", SYNC_TOKENS="crm=sesame shop=sesame")
    with db.transaction() as conn:
        sync.add(conn, "shop", six.origin)
    six.queue_faults("html", "html")
    for source in ("crm", "shop"):
        sync_critical_data.send(source)
    drain(jobs)

    reported = [subject for _, subject in subjects(jobs)]
    assert sorted(reported) == ["crm: the sync fails"] * 2 + ["shop: the sync fails"] * 2


def test_the_recovery_is_reported(jobs, six, state, use):
    use(SYNC_ALERT_WINDOW="86400000")
    six.queue_faults(*["500"] * 5)
    sync_critical_data.send("crm")
    run_all(jobs)

    recovered = [mail for mail in subjects(jobs) if mail[1] == "crm: the sync works again"]
    assert len(recovered) == 2
    assert (state().failed_runs, state().failing_since, state().last_error) == (0, None, None)
    text = jobs.mailbox[0].get_body(("plain",)).get_content()
    assert "4 runs in a row failed, since" in text
    assert "SourceFailedError: 500" in text

    jobs.perform(sync_critical_data, "crm")
    jobs.drain()
    assert len([one for one in subjects(jobs) if "again" in one[1]]) == 2


def test_an_outage_that_ends_before_the_fourth_run_alerts_no_one(jobs, six):
    six.queue_faults("500", "cut", "429:1")
    sync_critical_data.send("crm")
    run_all(jobs)

    assert jobs.mailbox == []


@pytest.mark.parametrize("faults", [["html"], ["all-bad"] * 2, ["same-cursor", "same-cursor"]])
def test_errors_that_need_a_person_alert_at_once_and_are_retried(jobs, six, kept, faults):
    six.queue_faults(*faults, at="/records")
    sync_critical_data.send("crm")
    drain(jobs)
    assert len(jobs.mailbox) == 2
    assert jobs.dead == []

    run_all(jobs)

    assert sorted(kept()) == list(SIX)


def test_a_record_whose_job_is_dead_alerts(jobs, six):
    six.queue_faults("401", "401")
    for name in "ab":
        sync_record.send("crm", name)
    drain(jobs)

    assert subjects(jobs) == [
        ("Ada <ada@example.org>", "crm: the sync fails"),
        ("Bob <bob@example.org>", "crm: the sync fails"),
    ]
    assert "RefusedRequestError" in jobs.mailbox[0].get_body(("plain",)).get_content()


def test_alerts_overtake_other_mails(jobs, six):
    six.queue_faults("html")
    with pytest.raises(WrongAnswerError):
        jobs.perform(sync_critical_data, "crm")

    assert [job.priority for job in sent(jobs, actors.deliver_email)] == [4, 4]


def test_a_reason_from_outside_is_text(jobs, six, monkeypatch):
    six.records.clear()
    six.put("a")
    monkeypatch.setitem(
        FAULTS,
        "html",
        lambda handler, _: handler.reply(200, b"<script>alert(1)</script>\r\nBcc: x@example.org"),
    )
    six.queue_faults("html")
    sync_critical_data.send("crm")
    drain(jobs)

    html = jobs.mailbox[0].get_body(("html",)).get_content()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert jobs.mailbox[0]["Bcc"] is None
