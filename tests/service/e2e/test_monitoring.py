"""Real processes, and a Prometheus that scrapes them and evaluates the rules of `deploy/`."""

import contextlib
import os
import re
from types import SimpleNamespace

import dramatiq
import pytest

from tests import monitoring
from tests.monitoring import Prometheus
from tests.programs import CLOCK
from workshed.devserver.ports import HOST, find_free_ports

pytestmark = pytest.mark.timeout(1800)  # pages, rules and faults run one after the other

ACTORS = """
from datetime import timedelta
import threading
import dramatiq
from workshed import Limit, broker
from workshed.cronspec import every

@dramatiq.actor(broker=broker, queue_name="default", time_limit=60_000, max_retries=0)
def work(what):
    if what == "fail":
        raise OSError("away")
    if what == "wait":
        threading.Event().wait(5)
    seldom.send()

@dramatiq.actor(broker=broker, queue_name="default", limit=Limit.window(1, per=timedelta(hours=1)))
def seldom(): pass

@dramatiq.actor(broker=broker, queue_name="default", periodic=every(timedelta(seconds=10)))
def tick(): pass
"""
AT = re.compile(r"metrics are at http://127.0.0.1:(\d+)/metrics")
PATIENCE_S = 300
"""Everything shows up within this time, even on a busy machine."""
SOURCE = """
    INSERT INTO shop.sync_sources (name, url, created_at)
    VALUES ('crm', 'https://crm.example.org', workshed.now() - interval '2 hours')
"""
MAIL_SERVER = """
    INSERT INTO workshed_mail.mail_servers (name, failures, failing_since, last_error)
    VALUES ('mail.example.org:25', 9, workshed.now() - interval '1 hour', 'it answered 421')
"""
# Includes a job of an unknown kind, which all releases leave alone.
PERIODIC = """
    INSERT INTO workshed.periodic_jobs (name, queue, kind, spec, zone, misfire_policy,
                                         misfire_window, description,
                                        options,
                                next_at)
    VALUES ('daily_report', 'low', 'daily', '09:00', 'UTC', 'once', '7 days', 'daily at 09:00',
            '{}', workshed.now() + interval '1 day'),
           ('by_the_moon', 'low', 'moon', 'full', 'UTC', 'once', '7 days', 'at full moon', '{}',
            workshed.now() - interval '5 minutes')
"""
SEEN = "UPDATE workshed.periodic_jobs SET seen_at = workshed.now()"
STORED = """
    INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, due_at, reason)
    SELECT 'ended-' || n, 0, 'default', 'work', '{}', workshed.now() + interval '1 day', 'delayed'
      FROM generate_series(1, 260_000) AS n
"""
DELETED = "DELETE FROM workshed.schedule WHERE message_id LIKE 'ended-%'"
AGED = "UPDATE workshed.migrations SET applied_at = applied_at - interval '3 days'"


@pytest.fixture
def numbers():
    """Each master serves its own metrics."""
    return {}


@pytest.fixture
def environment(environment, tmp_path):
    """Environment variables of a process that serves metrics.

    If every master started at the default port, one of another test could get the port of a dead
    master, and Prometheus would take it for that one.
    """
    (tmp_path / "work.py").write_text(ACTORS)
    (tmp_path / "scratch").mkdir()
    [port] = find_free_ports(1)
    own = {"TMPDIR": str(tmp_path / "scratch"), "WORKSHED_METRICS_PORT": str(port)}
    return {**environment, **own, "WORKSHED_RELAY_FORK": "false"}


@pytest.fixture(scope="module")
def rabbitmq_page(servers):
    """The port on which RabbitMQ's plugin serves its metrics."""
    node, (port,) = servers.rabbitmq, find_free_ports(1)
    listener = f'[{{ip, "{HOST}"}}, {{port, {port}}}]'
    setting = f"rabbitmq_prometheus, tcp_config, {listener}, [{{persistent, true}}]"
    node.ctl("eval", f"application:set_env({setting}).")
    enabled = node.folder / "enabled_plugins"
    before = enabled.read_text()
    enabled.write_text(before.replace("].", ", rabbitmq_prometheus]."))
    node.ctl("eval", f'rabbit_plugins:ensure("{enabled}").')
    yield port
    enabled.write_text(before)
    node.ctl("eval", f'rabbit_plugins:ensure("{enabled}").')


@pytest.fixture
def start(warm, environment, tmp_path):
    """`start("relay", "workshed", "relay")`: start a program; returns it with its output."""
    with contextlib.ExitStack() as opened:

        def one(name, *words, **env):
            log = tmp_path / f"{name}.log"
            process = warm.start(*words, env={**os.environ, **environment, **env}, log=log)
            opened.callback(process.wait, 60)
            opened.callback(process.kill)
            return SimpleNamespace(process=process, text=log.read_text, kill=process.kill)

        yield one


@pytest.fixture
def wires(proxy, vhost, database):
    """Proxies in front of PostgreSQL and RabbitMQ, for one relay."""
    return proxy(database), proxy(vhost)


@pytest.fixture
def world(start, start_worker, wires, vhost, database, broker):
    """A worker of queue `default`, a clock, and three relays.

    One relay is behind the proxies, and one measures the schedule as that of PostgreSQL alone.
    """
    postgresql, rabbitmq = wires
    cut = {
        "WORKSHED_DATABASE_URL": postgresql.url(database),
        "WORKSHED_BROKER_URL": rabbitmq.url(vhost),
    }
    return SimpleNamespace(
        clock=start("clock", *CLOCK, "work"),
        relay=start("relay", "workshed", "relay"),
        far_relay=start("far-relay", "workshed", "relay", **cut),
        table_relay=start("table-relay", "workshed", "relay", WORKSHED_BROKER_URL="postgresql:"),
        worker=start_worker("work", options=("-Q", "default")),
    )


@pytest.fixture
def prometheus(world, rabbitmq_page, tmp_path, eventually):
    """A Prometheus that has scraped all of these processes."""
    folder = tmp_path / "prometheus"
    folder.mkdir()
    ours = [
        int(eventually(lambda one=one: AT.findall(one.text()), within_s=PATIENCE_S)[0])
        for one in vars(world).values()
    ]
    with Prometheus(folder, {"workshed": ours, "rabbitmq": [rabbitmq_page]}) as found:
        eventually(found.is_ready, within_s=PATIENCE_S)
        eventually(lambda: found.result("sum(up) == 6"), within_s=PATIENCE_S)
        yield found


@pytest.fixture
def work(broker):
    """`work("fail", 20)`: send this many jobs."""

    def send(what="well", count=1, queue="default"):
        messages = [dramatiq.Message(queue, "work", (what,), {}, {}) for _ in range(count)]
        broker.enqueue_many(messages)

    return send


@pytest.fixture
def execute(connect):
    """Execute a statement in its own transaction."""
    return connect(autocommit=True).execute


@pytest.fixture
def nothing_left(eventually):
    """`nothing_left(missing)`: wait until `missing()` is empty; fails and shows the rest."""

    def wait(left):
        last = set()

        def look():
            last.clear()
            last.update(left())
            return not last

        with contextlib.suppress(AssertionError):
            eventually(look, within_s=PATIENCE_S)
        assert last == set()

    return wait


def test_all_that_rules_and_dashboards_ask_for_is_there_and_has_an_answer(
    prometheus, work, execute, broker, nothing_left
):
    """Prometheus does not report a wrong name: the alert never fires, the panel stays empty."""
    for statement in (SOURCE, MAIL_SERVER, PERIODIC):
        execute(statement)
    broker.enqueue(dramatiq.Message("default", "work", ("well",), {}, {}), delay=600_000)
    work("wait")  # running jobs are sampled every second
    asked = monitoring.queries()
    written = [one["expr"] for one in monitoring.rules()]
    named = monitoring.metrics([*(one.expr for one in asked), *written])

    def missing():
        work("fail")
        work("well")
        broker.enqueue(dramatiq.Message("default", "work", ("well",), {}, {}), delay=1)
        return named - prometheus.names()

    def empty():
        return missing() or {one.panel for one in asked if not prometheus.result(one.plain)}

    nothing_left(missing)
    nothing_left(empty)
    for expr in written:
        prometheus.result(expr)  # fails if the query has an error


@pytest.mark.exhaustive
@pytest.mark.fresh_database
def test_each_fault_is_an_alert(
    prometheus, world, wires, work, execute, alarm, eventually, nothing_left
):
    """Each rule has its real `for:`, unless that is above 30 s."""
    fired = set()

    def fire(*names):
        def silent():
            fired.update(prometheus.firing())
            return set(names) - fired

        nothing_left(silent)

    work("well")
    eventually(lambda: prometheus.result("workshed_oldest_waiting_seconds"), within_s=PATIENCE_S)
    eventually(
        lambda: prometheus.result('workshed_jobs_total{outcome="succeeded"}'), within_s=PATIENCE_S
    )
    eventually(lambda: not prometheus.firing(), within_s=PATIENCE_S)

    for statement in (STORED, DELETED):
        execute(statement)
    fire("WorkshedVacuumBehind", "WorkshedTooManyJobs")

    world.clock.kill()
    for wire in wires:
        wire.refuse()
        wire.cut()
    for statement in (AGED, SOURCE, PERIODIC, SEEN):
        execute(statement)
    work(queue="low")
    work("fail", 20)
    eventually(
        lambda: prometheus.result('workshed_jobs_total{outcome="dead"} >= 20'), within_s=PATIENCE_S
    )
    work("fail", 20)
    fire("WorkshedNoConsumer", "WorkshedJobsDied")
    execute("ALTER TABLE workshed.dead ADD CHECK (false) NOT VALID")
    work("fail")
    eventually(
        lambda: prometheus.result("sum(workshed_deliveries_dead_lettered_total) > 0"),
        within_s=PATIENCE_S,
    )

    with alarm("memory"):
        execute("SELECT workshed.send('work', '[\"well\"]', queue => 'default')")
        execute("UPDATE workshed.schedule SET due_at = due_at - interval '10 minutes'")
        execute(MAIL_SERVER)
        execute("""
            INSERT INTO workshed_mail.emails (kind, recipient, recipient_name, subject, text_body,
                                        message_id, state, possible_duplicates, held_at)
            VALUES ('test', 'ada@example.org', 'Ada', 'Hello', 'Hello', '<1@x>', 'unknown', 1,
                    now())
        """)
        fire(
            *("WorkshedClockSilent", "WorkshedPeriodicJobsLate", "WorkshedReportMissing"),
            *("WorkshedSyncStale", "WorkshedFailureRatio", "WorkshedDeadQueue"),
            *("WorkshedMailServerFailing", "WorkshedMailsHeld"),
            *("WorkshedRabbitMQAlarm", "WorkshedRelayLag", "WorkshedOldestWaiting"),
            *("WorkshedPostgreSQLUnreachable", "WorkshedRabbitMQUnreachable"),
        )

    for relay in (world.far_relay, world.relay, world.table_relay):
        relay.kill()
    fire("WorkshedRelayGone", "WorkshedTargetDown")

    world.worker.kill()
    fire("WorkshedNoWorkers")

    assert fired == {one["alert"] for one in monitoring.rules()}
