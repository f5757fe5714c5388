"""What Sentry receives from real workers: one event per job that died, and no secrets."""

import json
import re
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from dramatiq import Message

ACTORS = """
import logging, time
import dramatiq
from workshed import broker
from workshed.duration import ms
from workshed.jobs import Discard

log = logging.getLogger("parts")
SOON = {"min_backoff": 1, "max_backoff": 1}

class Talks(dramatiq.Middleware):
    def before_process_message(self, broker, message):
        log.warning("checking %s", message.args)

broker.add_middleware(Talks())

@dramatiq.actor(broker=broker, queue_name="low", max_retries=3, **SOON)
def fail(number):
    log.info("about to fail %s", number)
    raise OSError("away")

@dramatiq.actor(broker=broker, queue_name="low")
def work(number):
    log.info("about to work %s", number)

@dramatiq.actor(broker=broker, queue_name="low", max_retries=0)
def leave_out(number):
    raise Discard("paid already")

@dramatiq.actor(
    broker=broker, queue_name="low", time_limit=ms(seconds=0.1), hard_time_limit=500, max_retries=0
)
def hang(number):
    time.sleep(600)
"""


@pytest.fixture
def send(broker):
    """Send by name, as a program without the actors would."""
    return lambda actor, *args, **options: broker.enqueue(Message("low", actor, args, {}, options))


@pytest.fixture
def start(start_worker, sentry, tmp_path):
    """`start(**settings)`: a worker that reports to `sentry`."""

    def start(module=ACTORS, threads=1, **settings):
        (tmp_path / "parts.py").write_text(module)
        env = {"WORKSHED_SENTRY_DSN": sentry.dsn, "WORKSHED_RELEASE": "4.2", **settings}
        return start_worker("parts", threads=threads, env=env)

    return start


@pytest.fixture
def reported(sentry, eventually):
    """`reported(worker, dead, count)`: the events until it stops, after so many dead jobs."""

    def reported(worker, dead, rows):
        eventually(lambda: rows("workshed.dead") == dead)
        assert worker.stop() == 0
        return sentry.of("event")

    return reported


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("events", "attempts"),
    [("final", ["4"]), ("first_and_final", ["1", "4"]), ("all", ["1", "2", "3", "4"])],
)
def test_a_job_that_failed_four_times_is_reported_as_often_as_wanted(
    events, attempts, start, send, reported, count
):
    worker = start(WORKSHED_SENTRY_EVENTS=events, WORKSHED_SENTRY_ENVIRONMENT="staging")

    message = send("fail", 7)
    found = reported(worker, 1, count)

    assert [event["tags"]["attempt"] for event in found] == attempts
    last = found[-1]
    assert last["tags"] == {
        "family": "parts",  # which `middleware/sentry.py` adds
        "actor": "fail",
        "queue": "low",
        "attempt": "4",
        "message_id": message.message_id,
        "outcome": "dead",
    }
    assert (last["level"], last["release"], last["environment"]) == ("error", "4.2", "staging")
    assert last["fingerprint"] == ["{{ default }}", "fail"]
    error = last["exception"]["values"][-1]
    assert (error["type"], error["value"]) == ("OSError", "away")
    in_app = [frame["function"] for frame in error["stacktrace"]["frames"] if frame.get("in_app")]
    assert in_app == ["fail"]
    assert last["contexts"]["job"]["reason"] == "failed 4 times: OSError: away"
    assert "arguments" not in last["contexts"]


def test_breadcrumbs_and_tags_are_those_of_the_job_alone(start, send, reported, count):
    """Without `clear_breadcrumbs` an event would also show the log lines of earlier jobs."""
    worker = start(WORKSHED_SENTRY_EVENTS="all")

    for number in range(3):
        send("work", number)
    for number in range(3, 5):
        send("fail", number)
    found = reported(worker, 2, count)

    assert len(found) == 8
    for event in found:
        said = [crumb["message"] for crumb in event["breadcrumbs"]["values"]]
        assert len(said) == 1, said
        assert said[0].startswith("about to fail")


def test_only_failures_that_matter_are_reported(start, send, broker, reported, count):
    """A job that did not run has no exception; it is grouped by its outcome."""
    worker = start(WORKSHED_SENTRY_EVENTS="all")

    send("leave_out", 1)
    send("work", 2)
    broker.enqueue(Message("low", "work", (3,), {}, {"expires": 1}, message_timestamp=1))
    found = reported(worker, 1, count)

    assert [event["tags"]["outcome"] for event in found] == ["expired"]
    assert found[0]["fingerprint"] == ["work", "expired"]
    assert found[0]["message"].startswith("expired: ")
    assert found[0]["level"] == "error"


def test_a_job_that_is_given_up_is_reported_before_its_process_ends(
    start, send, sentry, eventually
):
    """Without `on_process_exit` its event would be in a thread that ends with the process."""
    start()

    send("hang", 1)

    [event] = eventually(lambda: sentry.of("event"))
    assert event["exception"]["values"][-1]["type"] == "HardTimeLimitExceeded"
    assert event["tags"]["actor"] == "hang"


# Traces

SENDER = """
import os, sys
import sentry_sdk
from dramatiq import Message
from workshed import broker

sentry_sdk.init(os.environ["DSN"], traces_sample_rate=float(os.environ["RATE"]))
with sentry_sdk.start_transaction(op="http.server", name="POST /orders") as transaction:
    broker.enqueue(Message("low", "fail", (7,), {}, {}), delay=50)
    print(transaction.trace_id)
"""


@pytest.fixture
def send_in_trace(run, environment, sentry, tmp_path):
    """`send_in_trace(rate)`: send `fail` from a program with this sample rate; its trace's id."""

    def send_in_trace(rate):
        (tmp_path / "sender.py").write_text(SENDER)
        code, said = run("sender.py", DSN=sentry.dsn, RATE=rate, **environment)
        assert code == 0, said
        return said.split()[0]

    return send_in_trace


def test_a_trace_goes_on_from_send_through_delay_and_retries(
    start, send_in_trace, sentry, reported, count
):
    worker = start(WORKSHED_SENTRY_EVENTS="all", WORKSHED_SENTRY_TRACES="0")

    trace_id = send_in_trace("1")
    events = reported(worker, 1, count)

    sent, *runs = sentry.of("transaction")
    [publish] = sent["spans"]
    assert (publish["op"], publish["description"]) == ("queue.publish", "fail")
    assert len(runs) == 4
    for number, transaction in enumerate(runs):
        context = transaction["contexts"]["trace"]
        assert (transaction["transaction"], context["op"]) == ("fail", "queue.process")
        assert (context["trace_id"], context["parent_span_id"]) == (trace_id, publish["span_id"])
        assert context["status"] == "internal_error"
        data = context["data"]
        assert data["messaging.message.id"] == publish["data"]["messaging.message.id"]
        assert data["messaging.destination.name"] == "low"
        assert data["messaging.message.retry.count"] == number
        assert 0 <= data["messaging.message.receive.latency"] < 60_000
    assert [event["contexts"]["trace"]["trace_id"] for event in events] == [trace_id] * 4


def test_a_trace_that_the_sender_has_not_sampled_is_not_sent(
    start, send_in_trace, sentry, reported, count
):
    worker = start(WORKSHED_SENTRY_TRACES="1")

    trace_id = send_in_trace("0")
    [event] = reported(worker, 1, count)

    assert event["contexts"]["trace"]["trace_id"] == trace_id
    assert sentry.of("transaction") == []


# Check-ins

PERIODIC = """
from datetime import timedelta
import dramatiq
from workshed import broker
from workshed.cronspec import cron, every

@dramatiq.actor(
    broker=broker, queue_name="low", max_retries=1, min_backoff=1, max_backoff=1, time_limit=90_000,
    periodic=cron("0 9 1 1 *", tz="Europe/Paris"),
)
def Yearly_report(fails=False):
    if fails:
        raise OSError("away")

@dramatiq.actor(broker=broker, queue_name="low", periodic=every(timedelta(seconds=90)))
def tick(fails=False):
    pass
"""
FAILS, WORKS = True, False


@pytest.fixture
def checked_in(start, send, sentry, eventually, count):
    """`checked_in(actor, fails, **options)`: the check-ins of one run."""

    def run(actor, fails, dead=0, **options):
        worker = start(PERIODIC)
        send(actor, fails, **options)
        send("tick", WORKS, scheduled_for=1)  # of a schedule that monitors cannot express
        eventually(lambda: count("workshed.dead") == dead)
        eventually(lambda: sentry.of("check_in") or not options)
        assert worker.stop() == 0
        return sentry.of("check_in")

    return run


def test_a_run_that_the_clock_planned_checks_in_and_out(checked_in):
    begun, ended = checked_in("Yearly_report", WORKS, scheduled_for=1)

    assert (begun["status"], ended["status"]) == ("in_progress", "ok")
    assert begun["check_in_id"] == ended["check_in_id"]
    assert begun["monitor_slug"] == "yearly_report"
    assert begun["monitor_config"] == {
        "schedule": {"type": "crontab", "value": "0 9 1 1 *"},
        "timezone": "Europe/Paris",
        "checkin_margin": 5,
        "max_runtime": 3,  # 90 s, and as long as a job may go on beyond its limit
    }


def test_a_run_that_is_tried_again_is_in_progress_until_it_is_dead(checked_in):
    found = checked_in("Yearly_report", FAILS, dead=1, scheduled_for=1)

    assert [one["status"] for one in found] == ["in_progress", "in_progress", "error"]
    assert len({one["check_in_id"] for one in found}) == 1


def test_a_run_that_is_too_late_is_an_error(checked_in):
    found = checked_in("Yearly_report", WORKS, dead=1, scheduled_for=1, expires=1, due=1)

    assert [one["status"] for one in found] == ["error"]


def test_a_job_that_is_sent_by_hand_is_no_run_of_the_schedule(checked_in):
    """It would close a check-in that does not exist, and hide that the clock has stopped."""
    assert checked_in("Yearly_report", FAILS, dead=1) == []


# Secrets

LEAKY = """
import json, logging, os, threading, urllib.request
import dramatiq, sentry_sdk
from workshed import broker
CANARY = json.loads(os.environ["CANARIES"])
log = logging.getLogger("parts")

class Card:
    def __init__(self, number):
        self.number = number

    def __repr__(self):
        return f"Card({self.number})"

@dramatiq.actor(broker=broker, queue_name="low", max_retries=0, redact=["card"])
def charge(order, card, note=""):
    local = CANARY["local"]
    thing = Card(card["number"])
    sentry_sdk.set_extra("api_key", CANARY["extra"])
    sentry_sdk.set_extra("thing", thing)
    sentry_sdk.set_context("shop", {"url": f"https://{CANARY['key']}@shop.example/"})
    sentry_sdk.set_tag("card", card["number"])
    log.warning("reading redis://:%s@cache/0", CANARY["redis"])
    log.error("card %s, %s", card["number"], thing)
    log.warning("database: %s", os.environ["WORKSHED_DATABASE_URL"])
    try:
        ask = f"{os.environ['SHOP']}/hook?token={CANARY['query']}"
        urllib.request.urlopen(ask, data=CANARY["body"].encode())
    except OSError:
        pass
    with sentry_sdk.start_span(op="db", name=f"dsn host=h password={CANARY['span']} user=u"):
        pass
    other = threading.Thread(target=log.error, args=("thread %s", card["number"]))
    other.start()
    other.join()
    try:
        raise ConnectionError(f"postgresql://ada:{CANARY['pg']}@db:5432/shop?sslmode=require")
    except ConnectionError as err:
        err.add_note(f"amqps://ada:{CANARY['amqp']}@mq/")
        try:
            raise ValueError(f"host=db password='{CANARY['libpq']} 2' user=ada") from err
        except ValueError:
            mail = f"smtp://ada:{CANARY['smtp']}/%@mail"
            raise RuntimeError(
                f"card {card['number']} ({card!r}) refused by {mail}, "
                f"Authorization: Bearer {CANARY['bearer']}, login {CANARY['setting']} failed"
            )
"""
OWN = """
from sentry_sdk.integrations.dramatiq import DramatiqIntegration
sentry_sdk.init(
    os.environ["DSN"], send_default_pii=True, include_local_variables=True,
    traces_sample_rate=1.0, max_request_body_size="always",
    integrations=[DramatiqIntegration()],
    before_send=lambda event, hint: {**event, "logger": "card " + CANARY["card"]},
)
"""
NAMES = [
    *("local", "extra", "key", "redis", "query", "body", "span", "pg", "amqp", "libpq", "smtp"),
    *("bearer", "setting", "card", "note", "env"),
]


@pytest.fixture
def shop():
    """The URL of a server that answers nothing but errors."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def leaky(start, shop, broker, sentry, eventually, count):
    """`leaky(code, note, …)`: the names of the secrets that reached Sentry."""

    def run(code, note, **env):
        canaries = {name: f"canary{secrets.token_hex(8)}" for name in NAMES}
        env |= {
            "CANARIES": json.dumps(canaries),
            "DSN": sentry.dsn,
            "SHOP": shop,
            "WORKSHED_SMTP_URL": f"smtp://ada:{canaries['setting']}@127.0.0.1:9",
            "WORKSHED_SENTRY_TRACES": "1",
            "SECRET_OF_ENVIRONMENT": canaries["env"],
        }
        worker = start(code, **env)
        card = {"number": canaries["card"], "pin": [2026]}
        note = canaries["note"] if note is None else note
        broker.enqueue(Message("low", "charge", (7, card), {"note": note}, {}))
        eventually(lambda: count("workshed.dead"))
        worker.stop()
        return {name for name, canary in canaries.items() if canary.encode() in sentry.received}

    return run


def died(sentry):
    """The one event of the job that died, and its transaction."""
    [event] = [one for one in sentry.of("event") if "exception" in one]
    [transaction] = sentry.of("transaction")
    return event, transaction


def test_no_secret_leaves(leaky, sentry):
    """Without `SecretScrubber` ten would leave, in texts of errors, log lines, URLs and spans."""
    assert leaky(LEAKY, None) == set()

    event, transaction = died(sentry)
    said = json.dumps(event)
    assert "refused by smtp://ada:[redacted]@mail" in said
    assert "https://[redacted]@shop.example/" in said
    assert '"vars"' not in said
    assert "arguments" not in event["contexts"]
    assert "/hook" in json.dumps(event["breadcrumbs"]) + json.dumps(transaction["spans"])


def test_no_secret_leaves_by_a_client_of_the_application(leaky, sentry):
    """It is configured to send more: local variables, and all arguments but the redacted ones.

    Without `remove_sdk_integration` the event of the SDK's integration comes too, with all
    arguments. A time that happens to contain the value of a secret argument is still shown as a
    time.
    """
    code = LEAKY.replace("from workshed", OWN + "from workshed")

    left = leaky(code, "ring", WORKSHED_SENTRY_DSN="", WORKSHED_SENTRY_ARGUMENTS="true")

    assert left == set()
    event, transaction = died(sentry)
    assert event["contexts"]["arguments"] == {"order": 7, "card": "[redacted]", "note": "ring"}
    assert event["logger"] == "card [redacted]"
    assert '"vars"' not in json.dumps(event)
    for one in (event, transaction):
        assert re.fullmatch("[0-9a-f]{32}", one["event_id"])
        assert re.match(r"\d{4}-\d\d-\d\dT", one["timestamp"])


def test_nothing_of_the_sdk_is_imported_unless_it_is_configured(
    start_worker, send, tmp_path, count, eventually
):
    (tmp_path / "parts.py").write_text(ACTORS)
    (tmp_path / "sentry_sdk.py").write_text("raise SystemExit('it was loaded')")

    worker = start_worker("parts")
    send("fail", 1)
    eventually(lambda: count("workshed.dead"))

    assert worker.stop() == 0
    assert "it was loaded" not in worker.text()


def test_a_worker_that_is_to_report_and_cannot_does_not_start(start_worker, sentry, tmp_path):
    (tmp_path / "parts.py").write_text(ACTORS)
    (tmp_path / "sentry_sdk.py").write_text("raise ImportError('no such package')")

    worker = start_worker("parts", env={"WORKSHED_SENTRY_DSN": sentry.dsn}, ready=False)

    assert worker.process.wait(60) == 2
    assert "the SDK is missing: pip install 'workshed[sentry]'" in worker.text()


def test_the_first_failure_of_a_critical_job_is_reported(start, broker, reported, count):
    critical = ACTORS.replace(
        'queue_name="low", max_retries=3', 'queue_name="critical", max_retries=2'
    )
    worker = start(critical)

    broker.enqueue(Message("critical", "fail", (7,), {}, {}))
    found = reported(worker, 1, count)

    assert [event["tags"]["attempt"] for event in found] == ["1", "3"]
    assert {event["tags"]["family"] for event in found} == {"parts"}
