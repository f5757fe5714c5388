"""Overview: what happens now, and what is wrong, in words."""

import html
import re
from uuid import uuid4

import dramatiq
import pytest

from tests.library.integration.console.conftest import bury, env, management, ran
from workshed.console.web.view import cache
from workshed.cronspec import daily
from workshed.jobs.control import queues, workers
from workshed.jobs.control.workers import QueueReport, WorkerIdentity
from workshed.jobs.history import run_minutes, runs
from workshed.jobs.history.run_minutes import RunKind
from workshed.jobs.outbox import relays
from workshed.jobs.periodic import periodic_jobs
from workshed.jobs.periodic.periodic_jobs import PeriodicDeclaration
from workshed.transport.amqp import topology
from workshed.transport.relay.run_counts import PAUSE_S, RunCountMover

__all__ = ["bury", "env", "management", "ran"]


@pytest.fixture
def beat(conn):
    """`beat("default")`: a worker of these queues beats; its id."""

    def beat(*names, busy=3, pid=101):
        process = WorkerIdentity(uuid4(), "web-1", pid, 8, "v1.2")
        workers.record_heartbeat(
            conn, process, busy, [QueueReport(name, *5 * [None]) for name in names]
        )
        return str(process.id)

    return beat


@pytest.fixture
def live(broker, conn, beat):
    """`live()`: a relay and a worker beat."""

    def live():
        relays.record_relay(conn, uuid4(), "web-1", 77)
        beat(*broker.declared_queues)

    return live


@pytest.fixture
def healthy(broker, conn, live):
    """All queues exist, and a relay and a worker live; returns the broker."""
    broker.ensure_queues(set(broker.declared_queues))
    queues.declare_queues(
        conn, {queue.name: queue.kind for queue in broker.declared_queues.values()}
    )
    live()
    return broker


def said(browser):
    return [one["message"] for one in browser.json("/")["problems"]]


def publish(broker, queue, rabbitmq, eventually):
    with topology.open_connection(broker.urls, 60) as connection:
        message = dramatiq.Message(queue, "greet", (7,), {}, {})
        connection.channel().basic_publish("", queue, message.encode())
    eventually(lambda: rabbitmq.depth(queue) == 1)
    cache.status_cache.clear()


def test_a_healthy_installation_shows_no_trouble(operator, healthy):
    found = operator.json("/")

    assert found["problems"] == []
    assert found["workers"] == {"alive": 1, "quiet": 0, "silent": 0, "busy": 3, "threads": 8}
    assert found["relay_alive"] is True
    assert (found["dead"], found["clock"]) == (0, {"jobs": 0, "last": None, "next": None})
    assert [one["name"] for one in found["queues"]] == sorted(healthy.declared_queues)
    assert {one["workers"] for one in found["queues"]} == {1}
    text = operator.get("/").text
    assert "banner" not in text
    assert "No jobs ran in this time" in text
    assert "3 of 8 threads busy" in text


def test_an_installation_in_which_nothing_was_ever_started(operator, broker):
    found, text = operator.json("/"), operator.get("/").text

    assert said(operator)[:2] == [
        "no relay is running: delayed jobs, retries and outbox jobs are not published",
        "no worker is running, so no job runs",
    ]
    assert found["queues"] == []
    assert "none has ever run" in text
    assert "No queues yet" in text


def test_the_rates_of_runs_and_failures_are_shown_with_a_chart(operator, healthy, ran, bury):
    for number in range(8):
        ran(f"done-{number}", duration_s=1.0, queue_wait_s=0.25)
    ran("bad", outcome="retry", duration_s=3.0)
    bury("died")

    found, text = operator.json("/"), operator.get("/").text

    rates = found["rates"]
    assert (rates["succeeded"], rates["failed"], rates["step_s"]) == (8, 1, 60)
    assert rates["failure_rate"] == pytest.approx(1 / 9)
    assert 0.5 <= rates["run_p50_s"] <= 2.0
    assert 0.125 <= rates["wait_p50_s"] <= 0.5
    assert found["dead"] == 1
    assert '<svg class="chart"' in text
    assert 'aria-label="8 succeeded and 1 failed, most at once ' in text
    assert text.count('<rect class="failed"') == len(rates["bars"]) == 15
    assert "11.1 %" in text


@pytest.mark.parametrize(
    ("window", "title", "bars", "step_s"),
    [
        ("", "last 15 min", 15, 60),
        ("?window=15m", "last 15 min", 15, 60),
        ("?window=1h", "last hour", 60, 60),
        ("?window=24h", "last 24 h", 96, 900),
    ],
)
def test_each_tile_names_its_time_span(operator, healthy, ran, window, title, bars, step_s):
    ran("a")

    rates, text = operator.json(f"/{window}")["rates"], operator.get(f"/{window}").text

    tiles = [re.sub("<[^>]+>", "", one) for one in re.findall(r'"tile"><dt>(.*?)</dt>', text)]
    assert tiles == [
        *(f"{name}, {title}" for name in ("Jobs per minute", "Failed attempts")),
        *(f"{name}, {title}" for name in ("Run time", "Wait")),
        *(f"{name}, now" for name in ("Workers", "Relay", "Periodic jobs", "Dead")),
    ]
    assert f"Succeeded and failed, {title}" in text
    assert (len(rates["bars"]), rates["step_s"]) == (bars, step_s)
    current = re.findall(r'aria-current="page">([^<]+)<', text)
    assert title.capitalize() in current


def test_an_unknown_time_span_is_refused(operator, healthy):
    answer = operator.get("/?window=2y")

    assert answer.status_code == 400
    assert "is none of 15m, 1h, 24h" in answer.text


def test_a_number_leads_to_exactly_the_runs_that_it_counts(operator, healthy, ran, yesterday):
    """Other outcomes and older runs are not among them."""
    for outcome in ("retry", "dead", "poison", "snoozed", "discarded", "expired", "duplicate"):
        ran(outcome, outcome=outcome)
    for name in ("a", "b"):
        ran(name)
    yesterday("2 hours")

    text = operator.get("/?window=1h").text

    for outcome, names in (("failed", ["poison", "dead", "retry"]), ("succeeded", ["b", "a"])):
        [address] = set(re.findall(rf'href="(/jobs\?outcome={outcome}&amp;since=[^"]+)"', text))
        shown = operator.json(html.unescape(address))
        assert [run["message_id"] for run in shown["runs"]] == names
        assert shown["counts"][outcome] == {"count": len(names), "more": False}
        number = re.search(rf'href="{re.escape(address)}">(\d+) {outcome}<', text)
        assert int(number[1]) == len(names)


def test_nothing_is_linked_if_nothing_is_counted(operator, healthy):
    text = operator.get("/").text

    assert "0 failed" in text
    assert "/jobs?outcome" not in text


@pytest.mark.parametrize("rolled_up", [False, True], ids=["counted", "moved"])
def test_an_incident_at_278_jobs_a_second_is_seen_whole(
    operator, healthy, conn, yesterday, rolled_up
):
    """100 000 runs in 6 minutes; a third of those older than 108 s died."""
    conn.execute(
        """
        INSERT INTO workshed.runs (recorded_at, message_id, generation, attempt, queue, actor,
                                   outcome, reason, sent_at, ended_at, worker, origin, release,
                                   duration_s, queue_wait_s)
        SELECT at, n, 0, 1, 'default', 'job_' || n % 20,
               CASE WHEN n > 30000 AND n % 3 = 0 THEN 'dead' ELSE 'succeeded' END, '', at, at,
               'web-1:77', 'send', 'r1', n % 300 / 1000.0, n % 100 / 1000.0
          FROM generate_series(1, 100000) AS n
         CROSS JOIN LATERAL (SELECT workshed.now() - n * interval '3.6 ms' AS at) AS ended
        """
    )
    if rolled_up:
        while RunCountMover()(conn) == PAUSE_S:
            pass

    rates = operator.json("/")["rates"]

    assert (rates["succeeded"], rates["failed"]) == (76_667, 23_333)
    assert rates["busiest_minute"] == pytest.approx(16_667, abs=1)
    assert sum(bar["failed"] for bar in rates["bars"]) == 23_333
    address = f"/jobs?outcome=failed&since={at(rates['since'])}&until={at(rates['until'])}"
    counts = operator.json(address)["counts"]
    assert counts["failed"] == {"count": 23_333, "more": False}
    assert counts["all"] == {"count": 100_000, "more": False}
    assert "23\N{NARROW NO-BREAK SPACE}333 failed" in operator.get("/").text


def at(text):
    return text.replace("+00:00", "Z")


@pytest.fixture
def yesterday(conn):
    """Yesterday has a partition. `yesterday("2 hours")`: a run that ended so long ago."""
    conn.execute("""
        CREATE TABLE workshed.runs_of_before PARTITION OF workshed.runs
           FOR VALUES FROM ('2001-01-01') TO (date_trunc('day', now(), 'UTC'))
    """)

    def record(ago):
        conn.execute(
            """
            INSERT INTO workshed.runs (recorded_at, message_id, generation, attempt, queue, actor,
                                       outcome, reason, sent_at, ended_at, worker, origin, release)
            SELECT workshed.now() - %s::interval, 'old ' || outcome, 0, 1, 'default', 'greet',
                   outcome, '', now(), now(), 'web-1:77', 'send', ''
              FROM unnest('{succeeded,retry}'::text[]) AS outcome
            """,
            (ago,),
        )

    return record


def test_runs_that_are_only_counted_are_shown_without_a_list(operator, healthy, conn, ran, env):
    ran("bad", outcome="dead", duration_s=0.01, queue_wait_s=0.01)
    kinds = {RunKind("greet", "default", "succeeded", 10, None): 3}
    run_minutes.count_unrecorded(conn, "r1", kinds)
    env(HISTORY="failures")

    found, text = operator.json("/"), operator.get("/").text

    rates = found["rates"]
    assert (found["recorded"], rates["succeeded"], rates["failed"]) == ("failures", 3, 1)
    assert rates["failure_rate"] == 0.25
    assert 0.25 < rates["run_p50_s"] < 1
    assert "counted, but not recorded (<code>WORKSHED_HISTORY=failures</code>)" in text
    assert "/jobs?outcome=failed" in text
    assert "/jobs?outcome=succeeded" not in text


def test_without_a_history_rates_are_shown_as_unknown(operator, healthy, ran, env):
    ran("bad", outcome="dead")
    env(HISTORY="none")

    found, text = operator.json("/"), operator.get("/").text

    assert (found["recorded"], found["rates"]) == ("none", None)
    assert "records no runs (<code>WORKSHED_HISTORY=none</code>)" in text


def test_a_queue_with_waiting_jobs_and_without_a_worker(
    operator, broker, conn, beat, rabbitmq, eventually
):
    broker.ensure_queues({"low", "default"})
    queues.declare_queues(conn, {"low": "quorum", "default": "quorum"})
    relays.record_relay(conn, uuid4(), "web-1", 77)
    beat("default")
    publish(broker, "low", rabbitmq, eventually)
    conn.execute(
        "UPDATE workshed.queues "
        "SET oldest_possible_publish_at = oldest_possible_publish_at - interval '1 hour'"
    )

    found = operator.json("/")

    assert said(operator) == ["no worker consumes low: jobs wait"]
    (default, low) = found["queues"]
    assert (default["oldest"], default["workers"], default["waits"]) == (None, 1, False)
    assert 3600 <= low["oldest"] < 3660
    assert (low["ready"], low["workers"]) == (1, 0)
    assert "workshed worker --queue low" in operator.get("/").text


def test_each_trouble_is_a_banner_the_worst_first(operator, healthy, bury, conn):
    queues.pause_queue(conn, "bulk")
    conn.execute("UPDATE workshed.queues SET paused_at = paused_at - interval '1 hour'")
    bury("died")
    runs.record_dropped(conn, "web-1:101", 5)
    periodic_jobs.declare_jobs(conn, [PeriodicDeclaration("nightly", "low", daily("03:00"))])
    conn.execute("UPDATE workshed.periodic_jobs SET next_at = workshed.now() - interval '2 min'")
    for worker in workers.list_workers(conn):
        workers.quiet_worker(conn, worker.id)
    conn.execute("UPDATE workshed.relays SET beat_at = beat_at - interval '1 hour'")

    assert said(operator) == [
        "no relay heartbeat for 1h: delayed jobs and retries wait",
        "no job starts: all 1 running workers are quiet",
        "nightly was due 2m ago: its runs are not created",
        "bulk was paused 1h ago",
        "5 runs of the last 1h were not recorded, because PostgreSQL was down or slow",
        "1 job failed permanently in the last 1h",
    ]
    text = operator.get("/").text
    assert text.count('class="banner') == 6
    links = re.findall(r'class="banner.*<a class="button" href="([^"]+)">([^<]+)</a>', text)
    assert links == [
        ("/workers#relays", "Relays"),
        ("/workers", "Resume workers"),
        ("/workers#relays", "Relays"),
        ("/queues#queue-bulk", "Resume bulk"),
        ("/dead?since=1h", "Dead jobs by error"),
    ]
    assert 'id="queue-bulk"' in operator.get("/queues").text
    assert 'id="relays"' in operator.get("/workers").text
    assert "<code>workshed queues resume bulk</code>" in text


def test_with_rabbitmq_away_the_rest_is_shown(operator, healthy, ran, monkeypatch):
    ran("a")
    monkeypatch.setattr(healthy, "urls", ["amqp://ada:secret@127.0.0.1:9/"])

    found, text = operator.json("/"), operator.get("/").text

    assert found["rates"]["succeeded"] == 1
    assert {(one["ready"], one["waits"]) for one in found["queues"]} == {(None, None)}
    assert text.count("(unknown)") == 2 * len(healthy.declared_queues)
    (trouble,) = found["problems"]
    assert "RabbitMQ does not answer at 127.0.0.1:9" in trouble["message"]
    assert "secret" not in text


def test_an_alarm_of_rabbitmq_is_a_banner(operator, healthy, live, management, alarm, eventually):
    with alarm("memory"):
        live()  # `rabbitmqctl` may take longer than a relay or worker may be silent
        (trouble,) = eventually(lambda: cache.status_cache.clear() or said(operator))

    assert trouble.startswith("RabbitMQ takes no messages: ")
    assert "memory" in trouble


def test_the_page_is_shown_without_a_rabbitmq_url(operator, conn, env, monkeypatch):
    """`stub://` only records sends, but the history exists nevertheless."""
    monkeypatch.setattr("workshed.console.operations.environment.build.get_broker", lambda: None)
    queues.declare_queues(conn, {"default": "quorum"})

    found = operator.json("/")

    assert any("stub://" in one for one in said(operator))
    assert [one["name"] for one in found["queues"]] == ["default"]


def test_the_last_and_next_periodic_run_are_shown(operator, healthy, conn):
    periodic_jobs.declare_jobs(conn, [PeriodicDeclaration("nightly", "low", daily("03:00"))])
    periodic_jobs.declare_jobs(conn, [PeriodicDeclaration("paused", "low", daily("02:00"))])
    periodic_jobs.pause_job(conn, "paused")
    (next_at,) = conn.execute(
        "SELECT next_at FROM workshed.periodic_jobs WHERE name = 'nightly'"
    ).fetchone()

    clock = operator.json("/")["clock"]

    assert (clock["jobs"], clock["last"]) == (2, None)
    assert clock["next"] == next_at.isoformat()
    assert "no run yet" in operator.get("/").text


def test_dead_jobs_are_counted_up_to_a_limit(operator, healthy, bury, monkeypatch):
    monkeypatch.setattr("workshed.console.web.pages.overview.MOST_COUNTED", 2)
    for number in range(4):
        bury(f"died-{number}")

    assert operator.json("/")["dead"] == 3
    assert "&gt;&nbsp;2" in operator.get("/").text
    assert said(operator) == ["more than 2 jobs failed permanently in the last 1h"]
