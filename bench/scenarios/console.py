"""How long the slowest pages of the console take with a long history."""

import json
import re
from datetime import timedelta
from typing import Any

import psycopg

from bench.measurement import Measurement, report_alone
from bench.processes import BenchError, run_python
from bench.size import Size
from bench.world import World
from workshed.jobs.history import run_minutes
from workshed.migrate import apply_pending, list_streams
from workshed.transport.relay.run_counts import BATCH

TARGET_S = 0.2
LOOK_S = 1.5
"""For a page that says that it searches: it looks for a second at a time."""
SEARCHES = re.compile("[?&](argument|longer_than|tag)=")
WITHIN_S = 300.0
RUNS_PER_DEAD, RUNS_PER_SCHEDULED = 100, 10
"""One dead and one scheduled job for so many runs."""
SPANS = {"one hour": timedelta(hours=1), "six days": timedelta(days=6)}
COUNTED = timedelta(hours=25)
"""Runs of this time have counts per minute: the Overview shows no more."""
SLOWEST = 3
REQUESTS = 20
"""Requests of each page; the last but one is the 95th percentile."""
CODE = f"""
import json, time
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from starlette.testclient import TestClient
import actors
from workshed.console.web import Who, create_app
from workshed.console.web.menu import is_available
from workshed.console.web.pages import list_pages

browser = TestClient(create_app(authorize=lambda request: Who("bench", "operator")))


def ago(**span):
    return (datetime.now(UTC) - timedelta(**span)).strftime("%Y-%m-%dT%H:%MZ")


addresses = [
    *(page.path for page in list_pages() if page.group and is_available(page)),
    "/?window=1h", "/?window=24h", "/job?id=run-1000",
    "/dead?error=GatewayError", "/scheduled?queue=critical",
    *("/jobs?" + query for query in (
        "actor=charge_card", "actor=none", "queue=critical", "queue=none", "outcome=succeeded",
        "outcome=failed", "outcome=dead", "outcome=poison", "error=GatewayError", "error=NoError",
        "tag=order-7", "tag=none", "parent=run-1", "parent=none", "argument=order_id%3D4711",
        "argument=order_id%3D-1", "since=10m", "since=1d", f"until={{ago(minutes=30)}}",
        "longer_than=200ms", "longer_than=1h", "state=running",
        "queue=critical&outcome=dead", "actor=charge_card&outcome=failed&since=1h",
        "error=GatewayError&since=1h", "tag=none&outcome=failed",
        f"outcome=failed&since={{ago(minutes=15)}}&until={{ago(minutes=0)}}",
        f"actor=charge_card&since={{ago(days=1)}}&until={{ago(minutes=0)}}",
        f"outcome=succeeded&since={{ago(days=1)}}&until={{ago(minutes=10)}}",
    )),
]
found = {{}}
for address in addresses:
    took = []
    for _ in range({REQUESTS}):
        began = time.perf_counter()
        answer = browser.get(address, headers={{"accept": "text/html"}})
        took.append(time.perf_counter() - began)
        assert answer.status_code == 200, (address, answer.text)
    found[address] = sorted(took)[{REQUESTS} - 2]
print(json.dumps(found))
"""


def console(world: World, size: Size) -> list[Measurement]:
    """Fill the history, and request every page with every filter, in a separate process."""
    environment = world.environment("ours", WORKSHED_SECRET_KEY="k" * 40)
    count = f"{size.history_runs:,}".replace(",", " ")
    measured: list[Measurement] = []
    for title, span in SPANS.items():
        with world.connect_database() as conn:
            apply_pending(conn, list_streams())
            fill_history(conn, size.history_runs, span)
        found: dict[str, float] = json.loads(run_python(["-c", CODE], environment, WITHIN_S))
        if not found:
            raise BenchError("the console has no pages")
        slowest = sorted(found, key=lambda address: found[address], reverse=True)
        searching = [address for address in slowest if SEARCHES.search(address)]
        others = [address for address in slowest if address not in searching][:SLOWEST]
        measured += [
            report_alone(
                f"page above {count} runs of {title}, 95th percentile, {address}",
                found[address],
                "s",
                at_most=LOOK_S if address in searching else TARGET_S,
            )
            for address in dict.fromkeys([*others, "/", searching[0]])
        ]
    return measured


def fill_history(conn: psycopg.Connection[Any], runs: int, span: timedelta) -> None:
    """Write the runs of a time until now with their counts, and dead and scheduled jobs."""
    conn.execute("SELECT workshed.add_runs_partitions()")
    conn.execute(
        """TRUNCATE workshed.runs, workshed.run_counts, workshed.run_minutes, workshed.run_totals,
                    workshed.dead, workshed.schedule, workshed.attempts"""
    )
    add_past_partitions(conn, span)
    insert = """
        INSERT INTO workshed.runs (recorded_at, message_id, generation, attempt, queue, actor,
                                   outcome, reason, error_class, error, sent_at, published_at,
                                   started_at, ended_at, queue_wait_s, duration_s, worker, parent,
                                   origin, tags, release, arguments)
        SELECT at, 'run-' || n, 0, 1, (ARRAY['default', 'critical', 'emails'])[1 + n %% 3],
               CASE WHEN n %% 7 = 0 THEN 'charge_card' ELSE 'job_' || n %% 20 END,
               CASE WHEN n %% 50 = 0 THEN 'dead' WHEN n %% 20 = 0 THEN 'retry'
               ELSE 'succeeded' END,
               '', CASE WHEN n %% 50 = 0 THEN 'GatewayError' END, NULL, at, at, at, at,
               n %% 100 / 1000.0, n %% 300 / 1000.0, 'host:1',
               CASE WHEN n %% 1000 = 0 THEN 'run-1' END, 'send',
               CASE WHEN n %% 1000 = 0 THEN ARRAY['order-7'] ELSE '{}' END, '1',
               json_build_object('order_id', n)
          FROM generate_series(%(first)s::integer, %(last)s) AS n
         CROSS JOIN LATERAL (SELECT %(now)s - n * (%(span)s / %(runs)s) AS at) AS ended
    """
    row = conn.execute("SELECT workshed.now()").fetchone()
    counted = min(int(runs * (COUNTED / span)), runs)
    values = {"runs": runs, "span": span, "now": row and row[0]}
    conn.execute(insert, values | {"first": 1, "last": counted})
    conn.execute("SET session_replication_role = replica")  # without the trigger that counts
    conn.execute(insert, values | {"first": counted + 1, "last": runs})
    conn.execute("SET session_replication_role = DEFAULT")
    while run_minutes.roll_up(conn, BATCH) == BATCH:
        pass
    conn.execute(
        """INSERT INTO workshed.dead (message_id, generation, attempt, queue, actor, body, reason,
                                  error_class, died_at, error_location)
           SELECT 'dead-' || n, 0, 4, 'critical', 'actor_' || n %% 10, '{}', 'failed 4 times',
                  (ARRAY['GatewayError', 'KeyError', 'TimeoutError'])[1 + n %% 3],
                  workshed.now() - n * interval '1 second', 'shop/pay.py:' || n %% 5 || ' in pay'
             FROM generate_series(1, %s) AS n""",
        (runs // RUNS_PER_DEAD,),
    )
    conn.execute(
        """INSERT INTO workshed.schedule
                  (message_id, generation, queue, actor, body, reason, due_at)
           SELECT 'wait-' || n, 0, 'default', 'remind', '{"args": [1], "kwargs": {}}', 'delayed',
                  workshed.now() + n * interval '1 second' + interval '1 hour'
             FROM generate_series(1, %s) AS n""",
        (runs // RUNS_PER_SCHEDULED,),
    )
    conn.execute("VACUUM (ANALYZE)")


def add_past_partitions(conn: psycopg.Connection[Any], span: timedelta) -> None:
    """Create the partitions of the days before today."""
    conn.execute("SET timezone = 'UTC'")
    conn.execute(
        f"""
        DO $$
        DECLARE day date;
        BEGIN
            FOR day IN SELECT workshed.now()::date - n FROM generate_series(1, {span.days + 1}) AS n
            LOOP
                EXECUTE format('CREATE TABLE IF NOT EXISTS workshed.%I PARTITION OF workshed.runs '
                               'FOR VALUES FROM (%L) TO (%L)',
                               'runs_' || to_char(day, 'YYYY_MM_DD'), day, day + 1);
            END LOOP;
        END $$
        """  # noqa: S608 -- a number of ours
    )
