"""`workshed doctor`: reports all problems at once, each with its cause and a command to fix it."""

import importlib
import sys
import tempfile
import time
import tomllib
from datetime import datetime, timedelta
from uuid import uuid4

import dramatiq
import pytest

from tests.matrix.table import PLATFORMS, numbers
from tests.root import ROOT
from workshed.console.doctor import (
    Check,
    build_context,
    list_checks,
    permissions,
    postgresql,
    rabbitmq,
    run_checks,
    sentry,
    versions,
)
from workshed.console.doctor.context import CONNECT_S, QUERY_MS
from workshed.console.doctor.run import DEADLINE_S
from workshed.console.operations.finding import ok
from workshed.console.rabbitmq.management_api import TIMEOUT_S
from workshed.contrib.mail.check import STEP_TIMEOUT
from workshed.cronspec import daily
from workshed.duration import ms
from workshed.health import shared_folder
from workshed.jobs.control import queues
from workshed.jobs.control.queues import KnownActor
from workshed.jobs.outbox import relays
from workshed.jobs.periodic import periodic_jobs
from workshed.jobs.periodic.periodic_jobs import PeriodicDeclaration
from workshed.migrate import list_streams
from workshed.settings import MULTIPROCESS_VARIABLE, settings
from workshed.transport.amqp import topology
from workshed.transport.amqp.arguments import EXCHANGE
from workshed.transport.messages.signing import build_signing

ACTORS = "tests.library.actors"
ALL = [check.name for check in list_checks(build_context((), 1, 8))]


@pytest.fixture
def examined():
    """`examined()`: the findings of all checks now, by name.

    It comes before `actor`, which would forget the actors of a module imported after it.
    """
    importlib.import_module(ACTORS)

    def run(*, packages=(ACTORS,), processes=1, threads=8, stop_within=None):
        here = build_context(packages, processes, threads, stop_within)
        return run_checks(here, list_checks(here))

    return run


@pytest.fixture
def relay(conn):
    """A relay that lives."""
    relay = uuid4()
    relays.record_relay(conn, relay, "here", 1)
    return relay


@pytest.fixture
def healthy(broker, relay, management, mail_server):
    """Everything that a worker needs."""
    broker.ensure_queues(set(broker.declared_queues))
    return broker


@pytest.fixture
def worked(healthy):
    """Each queue has a consumer, as from a worker."""
    with topology.open_connection(healthy.urls, 60) as connection:
        for name in healthy.declared_queues:
            connection.channel().basic_consume(name, lambda *_: None)
        yield healthy


def levels(findings):
    return [finding.level for finding in findings]


def only(findings):
    [finding] = findings
    return finding


# The whole output


@pytest.mark.usefixtures("database")
def test_colours_are_only_for_terminals_without_no_color(workshed, monkeypatch):
    green = "\x1b[32m"
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b" not in workshed("doctor").out

    monkeypatch.setenv("FORCE_COLOR", "1")
    assert green in workshed("doctor").out

    monkeypatch.setenv("NO_COLOR", "1")
    assert green not in workshed("doctor").out


def test_json_output_is_a_single_value(workshed, worked, bury):
    bury("a")

    done = workshed("doctor", "--import", ACTORS, "--json")

    assert done.code == 0  # a warning is no failure
    assert done.json["ok"] is True
    assert list(dict.fromkeys(one["check"] for one in done.json["checks"])) == ALL
    warning = only([one for one in done.json["checks"] if one["level"] == "warning"])
    assert warning == {
        "check": "dead jobs",
        "level": "warning",
        "message": "dead: 1 job (1 of ValueError)",
        "fix": "workshed dead list --group",
    }


def test_all_servers_that_are_away_are_reported_at_once(workshed, env):
    env(
        DATABASE_URL="postgresql://ada:secret@127.0.0.1:9/shop",
        BROKER_URL="amqp://ada:secret@127.0.0.1:9/",
        MANAGEMENT_URL="http://ada:secret@127.0.0.1:9",
        SMTP_URL="smtp://ada:secret@127.0.0.1:9",
    )

    done = workshed("doctor", "--json")

    assert done.code == 1
    assert done.json["ok"] is False
    failed = {one["check"]: one for one in done.json["checks"] if one["level"] == "failed"}
    assert set(failed) == {"PostgreSQL", "RabbitMQ", "mail"}
    assert "127.0.0.1:9/shop" in failed["PostgreSQL"]["message"]
    assert "export WORKSHED_DATABASE_URL=" in failed["PostgreSQL"]["fix"]
    assert "127.0.0.1:9" in failed["RabbitMQ"]["message"]
    assert all(one["fix"] for one in failed.values())
    assert "secret" not in done.out + done.err


def test_servers_that_never_answer_are_reported(workshed, env, tarpit):
    """Without a deadline the doctor hangs at the first, and does not report the others."""
    env(
        DATABASE_URL=f"postgresql://ada:secret@{tarpit}/shop",
        BROKER_URL=f"amqp://ada:secret@{tarpit}/",
        SMTP_URL=f"smtp://{tarpit}",
    )
    started = time.monotonic()

    done = workshed("doctor", "--json")

    assert time.monotonic() - started < 120
    failed = {one["check"]: one for one in done.json["checks"] if one["level"] == "failed"}
    assert set(failed) == {"PostgreSQL", "RabbitMQ", "mail"}
    assert all(tarpit in one["message"] for one in failed.values())
    assert done.code == 1


def test_a_check_that_crashes_or_hangs_is_a_failed_check(database):
    def crash(_):
        raise ZeroDivisionError("of course")

    def hang(_):
        yield ok("so far")
        time.sleep(60)

    here = build_context((ACTORS,), 1, 8)
    checks = [
        Check("crash", crash),
        Check("hang", hang),
        Check("fine", lambda _: [ok("fine")]),
        Check("next", lambda _: [ok("fine")], needs=("crash",)),
        Check("later", lambda _: [ok("fine")], after=("hang",)),
    ]

    started = time.monotonic()
    found = run_checks(here, checks, deadline_s=0.2)

    assert time.monotonic() - started < 50
    assert list(found) == ["crash", "hang", "fine", "next", "later"]
    assert "ZeroDivisionError: of course" in only(found["crash"]).message
    assert found["hang"][-1].message == "no answer within 0.2 s"
    assert levels(found["fine"]) == levels(found["later"]) == ["ok"]
    assert only(found["next"]).message == "see crash"


def test_the_accepted_versions_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    def bounds(pair):
        first, too_new = map(versions.format_version, pair)
        return [f">={first}", f"<{too_new}"]

    assert project["requires-python"] == f">={versions.format_version(versions.PYTHON[0])}"
    newest = max(numbers(platform.python) for platform in PLATFORMS)
    assert [newest[0], newest[1] + 1] == list(versions.PYTHON[1])
    assert f"dramatiq{','.join(bounds(versions.DRAMATIQ))}" in project["dependencies"]


@pytest.mark.parametrize(
    ("found", "level"),
    [((3, 10, 9), "failed"), ((3, 11, 0), "ok"), ((3, 15, 9), "ok"), ((3, 16, 0), "warning")],
)
def test_a_python_outside_of_the_accepted_versions(found, level):
    """A newer one is only a warning, because an upper cap would keep people from trying it."""
    assert versions.check_python(found).level == level


@pytest.mark.parametrize(
    ("found", "level"),
    [((2, 2, 0), "failed"), ((2, 2, 1), "ok"), ((2, 2, 9), "ok"), ((2, 3, 0), "failed")],
)
def test_a_dramatiq_outside_of_the_accepted_versions(found, level):
    assert versions.check_bounds("dramatiq", found, versions.DRAMATIQ, "x").level == level


# The environment


def test_bad_settings_are_reported_and_the_rest_is_checked(examined, healthy, env):
    """If the doctor stopped at the first one, people would find them one by one."""
    env(DATABSE_URL="x", POOL_SIZE="many", QUEUES="critcal=3", SMTP_URL="mail://u:secret@h")

    found = examined()

    said = " ".join(finding.message for finding in found["environment"])
    assert levels(found["environment"]) == ["failed"] * 4
    assert "WORKSHED_DATABSE_URL is not a setting; did you mean WORKSHED_DATABASE_URL?" in said
    assert "WORKSHED_POOL_SIZE: " in said
    assert "'critcal=3' is not NAME=WEIGHT" in said
    assert "secret" not in said
    assert found["environment"][0].fix == "unset WORKSHED_DATABSE_URL"
    assert only(found["connections"]).message == "WORKSHED_POOL_SIZE cannot be read"
    assert only(found["mail"]).message == "WORKSHED_SMTP_URL cannot be read"
    assert only(found["time limits"]).message == "see actors"
    for name in ("PostgreSQL", "RabbitMQ", "queues", "relay"):
        assert levels(found[name]) == ["ok"]


def test_an_unknown_option_of_a_url(examined, database, env):
    env(BROKER_URL="amqp://ada:secret@127.0.0.1:9/?hartbeat=5")

    found = examined()

    said = only(found["environment"]).message
    assert said == "WORKSHED_BROKER_URL: hartbeat is not known here (did you mean 'heartbeat'?)"
    assert only(found["RabbitMQ"]).message == "WORKSHED_BROKER_URL cannot be read"


def test_a_broken_url_is_not_replaced_by_the_default(examined, database, env):
    """Otherwise the doctor would judge a server that the operator did not mean."""
    env(BROKER_URL="http://127.0.0.1")

    assert only(examined()["RabbitMQ"]).message == "WORKSHED_BROKER_URL cannot be read"


# The actors


def test_without_a_module_it_checks_what_workers_have_declared(examined, healthy, conn):
    queues.declare_actors(conn, [KnownActor("work", "default"), KnownActor("crawl", "low")])

    found = examined(packages=())

    assert only(found["actors"]).message == "2 actors declared by workers"
    assert only(found["time limits"]).fix == "workshed doctor --import PACKAGE"
    assert only(found["queues"]).message.startswith("2 queues exist")
    assert only(found["workers"]).message == "no worker consumes default, low (no jobs wait there)"


def test_a_queue_that_does_not_exist_has_no_worker(examined, broker, conn):
    """Before the first start of a worker, all queues were said to have one."""
    queues.declare_actors(conn, [KnownActor("work", "default")])

    found = examined(packages=())

    assert found["queues"][0].message == "missing: default, default.dead"
    assert only(found["workers"]).message == "no worker consumes default (no jobs wait there)"


def test_the_command_without_a_module_imports_none(workshed, healthy, conn):
    """It used to check the sample product, which most people do not run."""
    queues.declare_actors(conn, [KnownActor("crawl", "low")])

    checks = workshed("doctor", "--json").json["checks"]

    said = {one["check"]: one["message"] for one in checks}
    assert said["actors"] == "1 actor declared by workers"
    assert said["workers"] == "no worker consumes low (no jobs wait there)"


def test_a_queue_that_only_workers_declare_is_checked(examined, healthy, conn):
    queues.declare_actors(conn, [KnownActor("crawl", "crawling")])

    missing = only(examined(packages=())["queues"])
    with topology.open_connection(healthy.urls, 60) as connection:
        connection.channel().queue_declare("crawling", durable=True)
        found = examined(packages=())
        connection.channel().queue_delete("crawling")

    assert (missing.level, missing.message) == ("warning", "missing: crawling")
    assert levels(found["queues"]) == ["ok", "not checked"]
    assert "crawling" in only(found["workers"]).message


def test_before_the_first_worker_it_shows_how_to_name_a_module(examined, healthy):
    finding = only(examined(packages=())["actors"])

    assert finding.level == "warning"
    assert finding.fix.startswith("workshed doctor --import PACKAGE")


def test_mails_contents_and_charts_are_checked_only_if_an_app_names_their_checks(
    no_app, examined, healthy
):
    """Users who only wanted jobs used to read that Matplotlib is missing."""
    assert {"mail", "mails", "storage", "charts"}.isdisjoint(examined(packages=()))


def test_a_time_limit_above_half_of_the_consumer_timeout(examined, healthy, actor):
    """RabbitMQ would requeue the job while it runs, and close the channel of all others."""

    @actor(queue_name="default", time_limit=ms(minutes=31))
    def crawl(): ...

    found = only(examined()["time limits"])

    assert found.level == "failed"
    assert "crawl may run for 31m, which is more than half of the consumer timeout" in found.message
    assert "time_limit=timedelta(minutes=30)" in found.fix
    assert "consumer_timeout=timedelta(minutes=62)" in found.fix


def test_a_hard_limit_that_the_consumer_timeout_would_cut(examined, healthy, actor):
    @actor(queue_name="default", hard_time_limit=ms(minutes=46))
    def crawl(): ...

    found = only(examined()["time limits"])

    assert "crawl has a hard limit of 46m, which is more than three quarters" in found.message
    assert found.fix == "hard_time_limit=timedelta(minutes=45)"


def test_an_actor_whose_on_dead_is_unknown(examined, healthy, actor):
    """Its workers would not boot."""

    @actor(queue_name="default", on_dead="tlel")
    def crawl(): ...

    found, _ = examined()["actors"]

    assert found.level == "failed"
    assert "crawl: on_dead='tlel': no actor of this program has that name" in found.message


def test_actors_that_cannot_be_imported(examined, healthy, tmp_path, monkeypatch):
    (tmp_path / "broken_jobs.py").write_text("\n1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    found = only(examined(packages=("broken_jobs",))["actors"])

    assert "broken_jobs cannot be imported: ZeroDivisionError" in found.message
    assert found.fix.endswith("broken_jobs.py:2")

    missing = only(examined(packages=("no_such_jobs",))["actors"])

    assert "there is no module 'no_such_jobs'" in missing.message


def test_actors_that_are_declared_on_another_broker(examined, healthy, tmp_path, monkeypatch):
    """Otherwise the check would count only those on ours, and report `ok`."""
    (tmp_path / "elsewhere.py").write_text(
        "import dramatiq\n"
        "from dramatiq.brokers.stub import StubBroker\n"
        "dramatiq.set_broker(StubBroker())\n"
        "dramatiq.actor(actor_name='greet')(print)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = dramatiq.get_broker()

    try:
        found = only(examined(packages=("elsewhere",))["actors"])
    finally:
        dramatiq.set_broker(before)

    assert found.level == "failed"
    assert "declared on a StubBroker, not on Workshed's broker: greet" in found.message
    assert found.fix == "from workshed import broker"


def test_a_worker_that_is_killed_before_it_can_stop(examined, database, env):
    """Its jobs are cut short without a log line, and each deploy looks like a crash."""
    env(SHUTDOWN_GRACE="60")

    found = only(examined(stop_within=timedelta(seconds=30))["shutdown"])

    assert found.level == "failed"
    assert "may take 65s to stop (60s for its jobs) but is killed after 30s" in found.message
    assert found.fix == "export WORKSHED_SHUTDOWN_GRACE=25s  (or allow 65s)"
    assert only(examined(stop_within=timedelta(seconds=65))["shutdown"]).level == "ok"
    assert only(examined()["shutdown"]).level == "not checked"


def test_limits_of_zero(examined, database, env):
    env(PUBLISH_TIMEOUT="0", SMTP_TIMEOUT="0")

    found = examined()["environment"]

    assert levels(found) == ["failed", "failed"]
    assert found[0].message.startswith("WORKSHED_SMTP_TIMEOUT: must be more than 0s")
    assert found[0].fix.endswith("use the default (not set): unset WORKSHED_SMTP_TIMEOUT")


# PostgreSQL


def test_a_database_that_was_not_migrated(examined, healthy, env, empty_database_url):
    env(DATABASE_URL=empty_database_url)

    found = examined()

    assert [one.message.partition(":")[0] for one in found["migrations"]] == list(list_streams())
    assert {(one.level, one.fix) for one in found["migrations"]} == {("failed", "workshed migrate")}
    assert only(found["relay"]).message == only(found["dead jobs"]).message == "see migrations"


def test_without_an_app_only_the_tables_of_workshed_are_needed(no_app, examined, healthy, conn):
    conn.execute("DELETE FROM workshed.migrations WHERE stream = 'shop'")

    assert levels(examined()["migrations"]) == ["ok"]


def test_a_database_of_another_release(examined, healthy, conn):
    conn.execute("INSERT INTO workshed.migrations VALUES ('workshed', '9999_later', 'x')")
    assert "workshed: 1 more than this release knows" in examined()["migrations"][0].message

    conn.execute("UPDATE workshed.migrations SET checksum = 'x' WHERE stream = 'workshed'")
    found = examined()["migrations"][0]

    assert found.level == "failed"
    assert "workshed/0001_baseline.sql was edited after it was applied" in found.message


def test_a_search_path_that_leads_to_the_tables_of_workshed(examined, healthy, env, database_url):
    """A role named `workshed` has one, because the schema of its own name comes first."""
    sign = "&" if "?" in database_url else "?"
    env(DATABASE_URL=f"{database_url}{sign}options=-csearch_path%3Dworkshed,public")

    found = examined()["migrations"][-1]

    assert found.level == "warning"
    assert "a table name without a schema may mean one of Workshed's" in found.message


def test_more_threads_than_connections_and_more_connections_than_the_server_allows(
    examined, healthy, env
):
    env(POOL_SIZE="3")

    threads, server = examined(processes=500, threads=8)["connections"]

    assert threads.level == server.level == "warning"
    assert threads.fix == "export WORKSHED_POOL_SIZE=8"
    assert "workers and a relay may open 2504 of" in server.message
    assert "ALTER SYSTEM SET max_connections = 2524" in server.fix


def test_a_clock_that_differs(examined, healthy, monkeypatch):
    """Several clocks count delays and deadlines; the test can only move the one of this host."""

    class Late(datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + timedelta(minutes=1)

    for module in (postgresql, rabbitmq):
        monkeypatch.setattr(module, "datetime", Late)

    found = examined()

    for name in ("PostgreSQL version", "management"):
        assert levels(found[name]) == ["ok", "warning"]
        assert "its clock and this host's are 6" in found[name][1].message


# The jobs


def test_no_relay(examined, healthy, relay, conn):
    relays.delete_relay(conn, relay)
    found = only(examined()["relay"])

    assert found.level == "failed"
    assert "workshed relay" in found.fix


def test_a_relay_that_has_died(examined, healthy, conn):
    conn.execute("UPDATE workshed.relays SET beat_at = beat_at - interval '1 hour'")

    found = only(examined()["relay"])

    assert found.level == "failed"
    assert "no relay heartbeat for 1h" in found.message


@pytest.fixture
def nightly(conn):
    """A running worker declares a periodic job."""
    periodic_jobs.declare_jobs(conn, [PeriodicDeclaration("nightly", "low", daily("03:00"))])


def test_a_periodic_job_whose_runs_are_not_created(examined, healthy, nightly, conn):
    conn.execute("UPDATE workshed.periodic_jobs SET next_at = workshed.now() - interval '1 hour'")

    found = only(examined()["periodic jobs"])

    assert found.level == "failed"
    assert "nightly was due 1h ago: its runs are not created" in found.message


def test_a_periodic_job_that_no_worker_has(examined, healthy, nightly, conn):
    conn.execute("UPDATE workshed.periodic_jobs SET seen_at = seen_at - interval '1 hour'")

    found = only(examined()["periodic jobs"])

    assert found.level == "warning"
    assert "no running worker has nightly" in found.message


def test_a_periodic_job_that_is_paused(examined, healthy, nightly, conn):
    conn.execute("UPDATE workshed.periodic_jobs SET next_at = workshed.now() - interval '1 hour'")
    periodic_jobs.pause_job(conn, "nightly")

    found = only(examined()["periodic jobs"])

    assert (found.level, found.message) == ("ok", "periodic: 1 job, 1 paused")


def test_a_relay_that_is_late(examined, healthy, store):
    store("a", due="-1 hour")

    found = only(examined()["relay"])

    assert found.level == "warning"
    assert "the oldest due job has waited for 1h" in found.message


def test_an_actor_that_does_not_use_its_transaction(examined, healthy, conn):
    queues.declare_actors(conn, [queues.KnownActor("sync", "default")])
    assert only(examined()["once"]).level == "ok"
    queues.note_unused_once(conn, "sync")

    found = only(examined()["once"])

    assert found.level == "warning"
    assert found.message.startswith("sync with once=True did not use the transaction of the job")
    conn.execute("UPDATE workshed.actors SET once_unused_at = workshed.now() - interval '2 days'")
    assert only(examined()["once"]).level == "ok"


def test_expired_records_that_no_relay_deletes(examined, healthy, conn):
    query = (
        "UPDATE workshed.pruned SET done_at = workshed.now() - interval '3 days' "
        "WHERE name = 'batches'"
    )
    conn.execute(query)

    found = only(examined()["retention"])

    assert (found.level, found.message) == (
        "warning",
        "expired records are not deleted: batches, for up to 3d",
    )
    assert "workshed relay" in found.fix


def test_expired_records_that_relays_delete(examined, healthy, conn):
    conn.execute("UPDATE workshed.pruned SET done_at = workshed.now() - interval '2 hours'")

    found = only(examined()["retention"])

    said = "retention: relays have deleted all expired records within 2h"
    assert (found.level, found.message) == ("ok", said)


def test_a_paused_queue(examined, healthy, conn):
    queues.declare_queues(conn, {"bulk": "quorum"})
    queues.pause_queue(conn, "bulk")

    found = only(examined()["paused queues"])

    assert (found.level, found.fix) == ("warning", "workshed queues resume bulk")


# RabbitMQ


def test_stub_delivers_nothing(examined, database, env):
    env(BROKER_URL="stub://")

    assert "stub:// only records sends" in only(examined()["RabbitMQ"]).message


def test_one_of_two_servers_away(examined, healthy, env):
    url = settings().broker_url.get_secret_value()
    env(BROKER_URL=f"{url};amqp://ada:secret@127.0.0.1:9/")

    found = examined()["RabbitMQ"]

    assert levels(found) == ["ok", "warning"]
    assert "127.0.0.1:9" in found[1].message


def test_a_host_that_cannot_be_resolved(examined, database, env):
    env(BROKER_URL="amqp://ada:secret@nowhere.invalid:5672/")

    found = only(examined()["RabbitMQ"])

    assert "does not answer at nowhere.invalid:5672" in found.message
    assert "secret" not in found.message


def test_a_management_api_that_does_not_answer_hides_nothing_else(examined, healthy, env):
    env(MANAGEMENT_URL="http://ada:secret@127.0.0.1:9")

    found = examined()

    assert levels(found["management"]) == ["failed"]
    assert "secret" not in found["management"][0].message
    assert levels(found["alarms"]) == ["ok"]
    assert levels(found["queues"]) == ["ok", "not checked"]
    assert levels(found["permissions"]) == ["ok"]


def test_without_the_management_api_its_checks_are_reported_as_not_done(examined, healthy, env):
    env(MANAGEMENT_URL="")

    found = examined()

    assert "export WORKSHED_MANAGEMENT_URL=http://" in only(found["management"]).fix
    assert levels(found["queues"]) == ["ok", "not checked"]


def test_queues_without_a_worker(examined, healthy, rabbitmq, eventually):
    """RabbitMQ keeps their messages, and no other check fails."""
    with topology.open_connection(healthy.urls, 60) as connection:
        connection.channel().basic_publish("", "bulk", b"x")
    eventually(lambda: rabbitmq.depth("bulk") == 1)

    full, empty = examined()["workers"]

    assert (full.level, full.fix) == ("failed", f"workshed worker {ACTORS}")
    assert full.message == "no worker consumes bulk (1 ready): jobs wait"
    assert empty.level == "warning"
    assert "emails" in empty.message
    assert "bulk" not in empty.message


def test_a_queue_without_jobs_and_without_actors_needs_no_worker(examined, healthy, actor):
    """An application with its own actors leaves most of the queues alone."""
    healthy.actors.clear()
    actor(queue_name="default", actor_name="crawl")(lambda: None)

    found = only(examined(packages=("json",))["workers"])

    assert found.message == "no worker consumes default (no jobs wait there)"
    assert found.fix == "workshed worker json"


@pytest.mark.fresh_vhost
@pytest.mark.parametrize("named", [True, False])
def test_missing_queues(examined, broker, relay, management, env, named):
    broker.ensure_queues({"default"})
    if not named:
        env(MANAGEMENT_URL="")

    found = examined()

    assert found["queues"][0].level == "failed"
    assert "missing: critical, critical.dead, " in found["queues"][0].message
    assert found["queues"][0].fix == "workshed broker setup"


def test_a_queue_that_differs(examined, broker, management):
    with topology.open_connection(broker.urls, 60) as connection:
        arguments = {"x-queue-type": "classic", "x-max-priority": 4}
        connection.channel().queue_declare("emails", durable=True, arguments=arguments)

    said = " ".join(finding.message for finding in examined()["queues"])

    assert "queue 'emails': x-" in said
    assert "x-dead-letter-exchange is absent and declared as 'workshed.jobs'" in said


def test_jobs_that_could_not_even_be_stored(examined, healthy, eventually):
    with topology.open_connection(healthy.urls, 60) as connection:
        connection.channel().basic_publish("", "bulk.dead", b"x")

    found = eventually(
        lambda: next((f for f in examined()["dead queues"] if f.level == "warning"), None)
    )

    assert "bulk.dead holds 1" in found.message
    assert found.fix == "workshed dead requeue bulk"


@pytest.fixture
def short_of_memory(alarm, healthy):
    """RabbitMQ is short of memory."""
    with alarm("memory"):
        yield


@pytest.mark.parametrize("named", [True, False])
def test_an_alarm(examined, short_of_memory, env, named, eventually):
    """While it lasts every `send` fails or waits, and nothing else reports it."""
    if not named:
        env(MANAGEMENT_URL="")

    found = eventually(lambda: next((f for f in examined()["alarms"] if f.level == "failed"), None))

    assert "RabbitMQ takes no messages" in found.message
    assert "memory" in found.message
    assert "rabbitmq-diagnostics alarms" in found.fix


# Permissions


@pytest.fixture
def account(servers, healthy, rabbitmq, env):
    """`account(write="^x$")`: let the broker log in as a user with these rights only."""
    user = f"u{rabbitmq.vhost}"
    rabbitmq.ask("PUT", f"users/{user}", {"password": "pw", "tags": ""})

    def use(configure=".*", write=".*", read=".*"):
        patterns = {"configure": configure, "write": write, "read": read}
        rabbitmq.ask("PUT", f"permissions/{rabbitmq.vhost}/{user}", patterns)
        url = settings().broker_url.get_secret_value()
        env(BROKER_URL=f"amqp://{user}:pw@{url.rpartition('@')[2]}")
        return user

    yield use
    rabbitmq.ask("DELETE", f"users/{user}")


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("may", "said"),
    [
        ({"write": "^default$"}, "workshed.jobs"),
        ({"read": "^(?!emails)"}, "may not read emails: no worker gets jobs"),
        ({"read": ""}, "may not read critical, default"),
    ],
)
def test_an_account_without_a_right(examined, account, env, servers, named, may, said):
    user = account(**may)
    if not named:
        env(MANAGEMENT_URL="")

    found = [one for one in examined()["permissions"] if one.level == "failed"]

    assert said in found[0].message
    assert "rabbitmqctl set_permissions --vhost test_" in found[0].fix
    assert user in found[0].fix


def test_the_suggested_command_fixes_the_rights(examined, account, servers):
    account("", "", "")
    [line, _] = [one.fix for one in examined()["permissions"] if one.level == "failed"]

    servers.rabbitmq.ctl(*line.replace("'", "").split()[1:])

    assert levels(examined()["permissions"]) == ["ok"]


def test_the_account_of_a_pool_needs_its_own_queues_alone(account, healthy):
    """Without --queue the doctor would fail on each host that consumes only some queues."""
    account(read="^(emails|bulk)$")

    def found(*queues):
        return levels(
            permissions.check_permissions(build_context((ACTORS,), 1, 8, consumed=queues))
        )

    assert "failed" in found()
    assert "failed" not in found("emails", "bulk")
    assert "failed" in found("emails", "low")


def test_an_account_that_may_not_make_queues_needs_another_to_do_it(examined, account):
    account(configure="^$")

    found = examined()["permissions"]

    assert levels(found) == ["ok", "ok"]
    assert "`workshed broker setup` as another user" in found[0].message


def test_a_queue_with_messages_is_not_touched(
    examined, account, env, rabbitmq, healthy, eventually
):
    """A message that was looked at would come back as redelivered."""
    with topology.open_connection(healthy.urls, 60) as connection:
        connection.channel().basic_publish(EXCHANGE, "default", b"x")
    eventually(lambda: rabbitmq.depth("default") == 1)
    account()
    env(MANAGEMENT_URL="")

    found = examined()["permissions"]

    assert levels(found) == ["not checked", "ok"]
    assert "on queues with messages: default" in found[0].message
    assert [one["redelivered"] for one in rabbitmq.peek("default")] == [False]


# Sentry and metrics


def test_sentry_is_configured_and_its_sdk_is_missing(examined, database, env, monkeypatch):
    env(SENTRY_DSN="https://key@sentry.example.org/1")
    monkeypatch.setattr(sentry, "SDK", "no_such_sdk")

    found = only(examined()["Sentry"])

    assert (found.level, found.fix) == ("failed", "pip install 'workshed[sentry]'")

    monkeypatch.setattr(sentry, "SDK", "json")
    assert only(examined()["Sentry"]).message == "failures are reported to sentry.example.org"


def test_a_dsn_that_cannot_be_read(examined, database, env):
    env(SENTRY_DSN="https://sentry.example.org")

    found = examined()

    assert "WORKSHED_SENTRY_DSN: must be like https://key@host" in found["environment"][0].message
    assert only(found["Sentry"]).message == "WORKSHED_SENTRY_DSN cannot be read"


def test_metrics_that_cannot_be_written(examined, database, env, monkeypatch, tmp_path):
    monkeypatch.setenv(MULTIPROCESS_VARIABLE, str(tmp_path / "gone"))
    found = only(examined()["metrics"])
    assert (found.level, found.message.endswith("nothing is measured")) == ("warning", True)

    monkeypatch.setenv(MULTIPROCESS_VARIABLE, str(tmp_path))
    assert only(examined()["metrics"]).message == f"metrics are stored in {tmp_path}"

    env(METRICS="false")
    assert "WORKSHED_METRICS" in only(examined()["metrics"]).message


def test_a_folder_for_metrics_that_belongs_to_another_user(
    examined, database, monkeypatch, tmp_path
):
    """Its owner could read and forge the metrics, so workers do without."""
    monkeypatch.delenv(MULTIPROCESS_VARIABLE, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert only(examined()["metrics"]).level == "ok"
    assert list(tmp_path.iterdir()) == []

    shared_folder.default_base_folder().symlink_to(tmp_path)

    found = only(examined()["metrics"])
    assert found.level == "warning"
    assert "belongs to another user" in found.message


def test_the_signing_settings_are_reported(examined, database, env):
    assert only(examined()["signing"]).level == "ok"

    env(SIGNING_KEYS=f"{'n' * 32},{'o' * 32}", SIGNING="accept")
    found = only(examined()["signing"])
    assert (found.level, found.fix.partition("  ")[0]) == (
        "warning",
        "export WORKSHED_SIGNING=require",
    )

    env(SIGNING="require")
    found = only(examined()["signing"])
    newest, older = build_signing(settings()).key_ids
    assert (found.level, found.message) == (
        "ok",
        f"messages are signed by key {newest}, and {older} accepted; all others become dead jobs",
    )


def test_signing_keys_that_are_too_short(examined, database, env):
    env(SIGNING_KEYS="short")

    assert only(examined()["signing"]).message == "WORKSHED_SIGNING_KEYS cannot be read"


# It changes nothing


def test_it_leaves_everything_as_it_was(examined, healthy, rabbitmq, conn):
    before = rabbitmq.queues().keys(), contents(conn)

    examined()

    assert (rabbitmq.queues().keys(), contents(conn)) == before


def contents(conn):
    """Return how many rows each table has, and which transaction wrote last.

    PostgreSQL's own statistics are late by seconds on a busy machine.
    """
    tables = "SELECT relid::regclass::text FROM pg_stat_user_tables"
    last = "SELECT count(*), max(xmin::text::bigint) FROM "
    return {
        table: conn.execute(last + table).fetchone() for (table,) in conn.execute(tables).fetchall()
    }


def test_the_deadline_is_longer_than_the_waits_of_the_checks():
    """Otherwise a silent server would be reported as a hanging check, without its address."""
    assert max(CONNECT_S, QUERY_MS / 1000, TIMEOUT_S, STEP_TIMEOUT.total_seconds()) < DEADLINE_S
