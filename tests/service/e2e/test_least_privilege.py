"""Each part works with only its own RabbitMQ account and PostgreSQL role."""

import contextlib
import os
import secrets
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import pytest

import actors
from brokers.app import QUEUES
from tests.library.e2e.desk import running
from tests.library.e2e.parts import Parts
from tests.library.integration.console.conftest import bury, dies, make_batch, store
from tests.library.integration.desk.conftest import Browser
from tests.library.integration.desk.planted import plant, plant_mail
from tests.library.integration.desk.test_evil import DETAILS
from tests.programs import CLOCK
from tests.service.integration.campaigns.conftest import Post
from tests.service.integration.console.kinds import begin_session
from workshed.console.web.pages import list_actions, list_downloads, list_pages
from workshed.console.web.view import cursor
from workshed.cronspec import daily
from workshed.jobs.control import queues, workers
from workshed.jobs.control.workers import QueueReport, WorkerIdentity
from workshed.jobs.locks import unique
from workshed.jobs.periodic import periodic_jobs
from workshed.jobs.periodic.periodic_jobs import PeriodicDeclaration
from workshed.settings import settings
from workshed.transport.amqp.arguments import EXCHANGE

__all__ = ["bury", "dies", "make_batch", "store"]

ACTORS = """
from datetime import timedelta
import dramatiq
from workshed import Limit, Unique, broker, db
from workshed.cronspec import cron
from workshed.jobs import checkpoint, once

def on(queue, **options):
    return dramatiq.actor(broker=broker, queue_name=queue, min_backoff=1, max_backoff=1, **options)

@on("low", store_results=True)
def double(number):
    return 2 * number

@on("emails")
def mail(number):
    pass

@on("low", max_retries=2)
def flaky(number):
    with db.transaction() as conn:
        is_first = once(conn, f"tried {number}")
    if is_first:
        raise OSError("the first run fails")

@on("low", max_retries=0, on_dead="note_death")
def fails(number):
    raise OSError("no")

@on("low")
def note_death(message, reason):
    pass

@on("low", once=True, unique=Unique(), limit=Limit.window(100, per=timedelta(minutes=1)))
def guarded(number):
    pass

@on("low", unique=Unique("while_executing"), limit=Limit.concurrent(1))
def alone(number):
    checkpoint()

@on("low", periodic=cron("* * * * *"))
def tick():
    pass
"""
SEND = """
from datetime import timedelta
from workshed import Batch, broker, db, schedule
import parts

double, sent = parts.double.message(21), []
broker.enqueue(double)
parts.mail.send(1)
parts.flaky.send(1)
parts.fails.send(1)
parts.guarded.send(1)
parts.guarded.send(1)
parts.alone.send(1)
parts.double.send_with_options(args=(1,), delay=1)
with db.transaction() as conn:
    batch = Batch(on_complete=parts.double.message(2))
    with batch.adding(conn):
        batch.add(conn, parts.double.message(3), parts.alone.message(3))
    late = schedule.send(conn, parts.double.message(4), delay=timedelta(days=3))
with db.transaction() as conn:
    assert schedule.cancel(conn, late.message_id) == "deleted"
broker.close()
"""
STORE = """
from workshed import db, schedule
import parts

with db.transaction() as conn:
    schedule.send(conn, parts.double.message(5))
    schedule.send(conn, parts.guarded.message(5))
"""
SHIPPED = """
from actors import activate_user, daily_report, maintain, sign_up, unsubscribe_user
from workshed import schedule
from shop import people
from workshed import db

with db.transaction() as conn:
    ada = sign_up(conn, name="Ada", email="ada@example.org")
    for job in (maintain, daily_report):
        schedule.send(conn, job.message())
with db.transaction() as conn:
    unsubscribe_user(conn, ada.id)
    activate_user(conn, ada.id)
    assert people.find_by_address(conn, "ADA@example.org").activated_at
"""
NO_RELAY = {"WORKSHED_RELAY_FORK": "false"}


@pytest.fixture
def database_url(owned_database_url):
    """A database of an ordinary owner, so that functions with owner rights have only these."""
    return owned_database_url


@pytest.fixture
def parts(database, vhost, rabbitmq, programs, environment, tmp_path):
    (tmp_path / "parts.py").write_text(ACTORS)
    pools = {"mail": ["emails"], "rest": [q.name for q in QUEUES if q.name != "emails"]}
    found = Parts(vhost, database, rabbitmq, programs, QUEUES, pools)
    yield found
    found.end()


@pytest.fixture
def background(warm, environment, tmp_path):
    """`background("relay", words, env)`: run a program until the test ends; return its log."""
    with contextlib.ExitStack() as stack:

        def start(name, words, env):
            log = tmp_path / f"{name}.log"
            variables = {**os.environ, **environment, **env, "WORKSHED_METRICS": "false"}
            process = warm.start(*words, env=variables, log=log)
            stack.callback(process.wait, 90)
            stack.callback(process.terminate)
            return log

        yield start


@pytest.fixture
def all_parts(parts, start_worker, background, environment):
    """Two pools of workers, a relay and a clock, by their logs."""
    logs = []
    for pool, names in (("mail", ["emails"]), ("rest", ["low", "default", "scheduled"])):
        env = parts.env(f"worker-{pool}", "worker") | NO_RELAY
        logs.append(start_worker("parts", "actors", options=["-Q", *names], env=env).log)
    logs.append(
        background("relay", ["workshed.transport.relay.relay"], parts.env("relay", "relay"))
    )
    logs.append(background("clock", [*CLOCK, "parts"], parts.env(None, "clock")))
    return logs


def test_each_part_does_its_work_with_its_own_rights(
    all_parts, parts, run, environment, count, eventually
):
    """A missing right would show as an error in a log, or as a job that does not end."""
    for code, account, role in ((SEND, "sender", "application"), (STORE, None, "sender")):
        ended, said = run("-c", code, **{**environment, **parts.env(account, role)})
        assert ended == 0, said

    done = "workshed.runs WHERE outcome = 'succeeded' AND actor"
    for actor, times in (("double", 5), ("mail", 1), ("flaky", 1), ("guarded", 2), ("alone", 2)):
        eventually(lambda a=actor, n=times: count(f"{done} = '{a}'") >= n)
    eventually(lambda: count(f"{done} = 'note_death'"))
    assert count("workshed.dead WHERE actor = 'fails'") == 1
    assert count("workshed.attempts WHERE actor = 'flaky'") == 1
    assert count("workshed.batches WHERE completed_at IS NOT NULL") == 1
    eventually(lambda: count("workshed.periodic_runs WHERE created_by = 'clock'"))
    for log in all_parts:
        assert "permission denied" not in log.read_text()


def test_the_shipped_jobs_and_their_cleaning_run_as_a_worker(
    all_parts, parts, run, environment, count, eventually
):
    """They are sent by an application whose users sign up, unsubscribe and come back."""
    ended, said = run("-c", SHIPPED, **{**environment, **parts.env("sender", "application")})
    assert ended == 0, said

    eventually(lambda: count("workshed_mail.emails WHERE sent_at IS NOT NULL") == 1)
    for actor in ("maintain", "daily_report", "send_welcome_email"):
        query = f"workshed.runs WHERE outcome = 'succeeded' AND actor = '{actor}'"
        eventually(lambda q=query: count(q))
    assert count("workshed.attempts") == 0


def test_an_operator_puts_back_what_died_in_either_place(
    all_parts, parts, run_apart, environment, conn, count, eventually, rabbitmq
):
    env = {**environment, **parts.env("dead-letter-operator", "operator")}
    ended = run_apart("-c", "import parts; parts.fails.send(1)", **env)
    assert ended.returncode == 0, ended.stderr
    eventually(lambda: count("workshed.dead"))
    message = conn.execute("SELECT convert_from(body, 'UTF8') FROM workshed.dead").fetchone()[0]
    message = message.replace("fails", "double")
    body = {"properties": {}, "routing_key": "low.dead", "payload": message}
    path = f"exchanges/{rabbitmq.vhost}/{EXCHANGE}/publish"
    rabbitmq.ask("POST", path, {**body, "payload_encoding": "string"})
    eventually(lambda: rabbitmq.depth("low.dead") == 1)

    for words in (
        ("dead", "retry", "--all", "--yes"),
        ("dead", "requeue", "low", "--yes"),
        ("queues", "pause", "bulk"),
        ("queues", "resume", "bulk"),
        ("queues",),
        ("scheduled", "cancel", "--all", "--yes", "--sent", "--actor", "stranger"),
        ("scheduled",),
        ("periodic", "run", "tick"),
        ("unique",),
        ("limits",),
        ("batches",),
        ("workers",),
        ("erase", "stranger@example.org", "--yes"),
    ):
        done = run_apart("-m", "workshed", *words, **env)
        assert done.returncode == 0, (words, done.stderr)

    eventually(lambda: count("workshed.attempts WHERE outcome = 'dead'") == 2)
    eventually(lambda: rabbitmq.depth("low.dead") == 0)
    assert count("workshed.audit") >= 5


def test_the_doctor_shows_a_monitor_what_it_may_see(
    all_parts, parts, run_apart, environment, servers, count, eventually
):
    eventually(lambda: count("workshed.relays"))
    at = urlsplit(servers.management_url).netloc.rpartition("@")[2]
    env = {
        **environment,
        **parts.env("monitor", "monitor"),
        "WORKSHED_MANAGEMENT_URL": f"http://{parts.prefix}-monitor:pw@{at}",
    }

    done = run_apart("-m", "workshed", "doctor", "--import", "parts", **env)

    assert "the check itself failed" not in done.stdout
    assert "permission denied" not in done.stdout
    failed = [line for line in done.stdout.splitlines() if line.startswith("failed")]
    assert {line.split()[1] for line in failed} <= {"permissions:"}
    assert run_apart("-m", "workshed", "queues", **env).returncode == 0


# The console

ACCOUNTS = {"operator": "dead-letter-operator", "reader": "monitor"}
"""Accounts of RabbitMQ by the role of PostgreSQL."""


@pytest.fixture
def console(parts, warm, broker, environment, servers, tmp_path):
    """`with console("reader") as browser:` a console with these accounts, used by an operator."""

    @contextlib.contextmanager
    def run(role, account=None):
        at = urlsplit(servers.management_url).netloc.rpartition("@")[2]
        env = {
            **environment,
            **parts.env(account or ACCOUNTS[role], role),
            "WORKSHED_MANAGEMENT_URL": f"http://{parts.prefix}-monitor:pw@{at}",
        }
        with (
            running(warm, env, tmp_path, olga="operator") as started,
            httpx2.Client(base_url=started.url, timeout=60) as client,
        ):
            browser = Browser(client, started.url)
            assert browser.log_in("olga").status_code == 303
            yield browser
        log = (tmp_path / "console.log").read_text()
        assert "permission denied" not in log
        assert "Traceback" not in log

    return run


@pytest.mark.sample(1)
@pytest.mark.parametrize("role", ACCOUNTS)
def test_all_pages_are_shown_as_a_role(console, superuser, tmp_path, role):
    """Each page has rows of everything it shows; also as JSON, and with all downloads."""
    layout = {"header": ["name", "email"], "name_column": None, "email_column": None}
    plant(superuser, product__imports=layout)
    plant_mail(tmp_path / "caught")

    with console(role) as browser:
        for page in list_pages():
            path = f"{page.path}?{DETAILS.get(page.path, '')}"
            answer = browser.get(path)
            assert answer.status_code == 200, (path, answer.text)
            assert browser.json(path)
        for download in list_downloads():
            details = DETAILS[DETAILS_OF[download.path]]
            answer = browser.get(f"{download.path}?{details}")
            assert answer.status_code == 200, (download.path, answer.text)


DETAILS_OF = {
    "/import/failed-rows.csv": "/import",
    "/report/numbers.csv": "/report",
    "/mail/html": "/mail/one",
}
"""For each download, the page of the same thing."""


@pytest.fixture
def buttons(conn, broker, bury, dies, make_batch, store, monkeypatch):
    """The form data of each button, with something to do for each."""
    monkeypatch.setenv("WORKSHED_SECRET_KEY", secrets.token_urlsafe(32))
    settings.cache_clear()
    conn.autocommit = True
    queues.declare_queues(conn, {queue.name: "quorum" for queue in QUEUES})
    periodic_jobs.declare_jobs(
        conn, [PeriodicDeclaration("tick", "low", daily("09:00", tz="UTC"), {})]
    )
    for name in ("held", "cancelled", "moved"):
        unique.acquire_key(conn, unique.KeyClaim(f"greet:{name}", name, 0, "greet", "default"))
        store(name, unique_key=f"greet:{name}")
    for name in ("one", "discarded", "grouped", "mine", "again"):
        bury(name)
    broken, stopped = make_batch("broken", "whole"), make_batch("stopped")
    dies("broken")
    for name in ("sooner", "run", "unwanted"):
        store(name)
    process = WorkerIdentity(uuid4(), "web-1", 101, 8, "v1")
    workers.record_heartbeat(
        conn, process, 0, [QueueReport("default", *5 * [None])], running=[], memory_bytes=1
    )
    post = Post()
    post.people(3)
    campaign = post.draft()
    post.start(campaign)
    actors.campaigns.begin_campaign(campaign)
    conn.execute("UPDATE shop.campaign_recipients SET state = 'unknown' WHERE user_id = 1")
    begin_session(conn, "rita")
    return [
        ("/queues/pause", {"name": "bulk"}),
        ("/queues/resume", {"name": "bulk"}),
        ("/dead/retry", {"one": "one"}),
        ("/dead/discard", {"one": "discarded"}),
        ("/dead/retry", {"id": "grouped"}),
        ("/job/retry", {"id": "mine"}),
        ("/job/run", {"id": "run"}),
        ("/job/cancel", {"id": "cancelled"}),
        ("/scheduled/run", {"id": "sooner"}),
        ("/scheduled/move", {"id": "moved", "in": "2h"}),
        ("/scheduled/cancel", {"id": "unwanted"}),
        ("/periodic/pause", {"name": "tick"}),
        ("/periodic/resume", {"name": "tick"}),
        ("/periodic/run", {"name": "tick"}),
        ("/unique/release", {"id": cursor.encode_cursor("greet:held", "held")}),
        ("/workers/quiet", {"id": str(process.id)}),
        ("/workers/resume", {"id": str(process.id)}),
        ("/batches/retry", {"id": broken}),
        ("/batches/cancel", {"id": stopped}),
        ("/campaigns/pause", {"id": campaign}),
        ("/campaigns/resume", {"id": campaign}),
        ("/campaigns/again", {"id": campaign, "state": "unknown"}),
        ("/campaigns/cancel", {"id": campaign}),
        ("/sessions/log-out", {"user": "rita"}),
        ("/dead/discard", {"every": "yes", "actor": "greet"}),
    ]


PURGE = "/queues/purge"
NO_LOGIN = "action <> 'console.login'"


def test_every_button_has_something_to_do(buttons):
    personal = {action.path for action in list_actions() if action.is_personal}
    pressed = {path for path, _ in buttons} | {PURGE} | personal
    assert pressed == {action.path for action in list_actions()}


def test_all_buttons_work_as_an_operator(console, buttons, count):
    """Each button asks first if it should, and then takes effect."""
    with console("operator") as browser:
        for path, fields in buttons:
            asked = browser.post(path, fields)
            assert asked.status_code in (200, 303), (path, asked.text)
            if asked.status_code == 200:
                assert browser.submit(path, fields | {"sure": "yes"}), path

    assert count(f"workshed.audit WHERE count > 0 AND {NO_LOGIN}") == len(buttons)


def test_a_queue_is_purged_by_the_account_of_its_workers(console, broker, count):
    """The operators' account can read dead queues, but no queue of workers."""
    actors.maintain.send()
    broker.close()
    fields = {"name": actors.maintain.queue_name, "sure": "yes"}

    with console("operator") as browser:
        refused = browser.post(PURGE, fields)
    with console("operator", "worker-rest") as browser:
        said = browser.submit(PURGE, fields)

    assert refused.status_code == 409
    assert "ACCESS_REFUSED" in refused.text
    assert said.startswith("1 job of"), said
    assert count("workshed.audit WHERE action = 'queues.purge'") == 1


def test_as_a_reader_no_button_does_anything(console, buttons, count):
    """PostgreSQL decides what is permitted, whatever role the console's users have."""
    with console("reader") as browser:
        for path, fields in buttons:
            answer = browser.post(path, fields | {"sure": "yes"})
            assert answer.status_code == 403, (path, answer.status_code, answer.text)
            assert "PostgreSQL refuses this to the console: permission denied" in answer.text
        answer = browser.post(PURGE, {"name": "low", "sure": "yes"})
        assert answer.status_code in (403, 409), answer.text

    assert count(f"workshed.audit WHERE {NO_LOGIN}") == 0


@pytest.mark.parametrize("role", ACCOUNTS)
def test_users_log_in_and_out_and_end_their_sessions_as_a_role(console, count, role):
    """Also as one that changes nothing else. The audit has all of it."""
    with console(role) as browser, another(browser) as other:
        assert other.log_in("olga", "wrong").status_code == 401
        assert other.log_in("olga").status_code == 303
        assert browser.submit("/sessions/end-others") == "1 session ended."
        assert browser.post("/logout").status_code == 303

    for action, times in (("login", 2), ("login_failed", 1), ("logout", 2)):
        assert count(f"workshed.audit WHERE action = 'console.{action}'") == times
    assert count("workshed.console_sessions") == 0


@contextlib.contextmanager
def another(browser):
    """Another browser that uses the same console."""
    with httpx2.Client(base_url=browser.origin, timeout=60) as client:
        yield Browser(client, browser.origin)
