"""How long the slowest page of the console takes with a long history."""

import json
from typing import Any

import psycopg

from bench.measurement import Measurement, median_figures, report_alone
from bench.processes import BenchError, run_python
from bench.size import Size
from bench.world import World
from workshed.migrate import apply_pending, list_streams

TARGET_S = 0.2
WITHIN_S = 300.0
RUNS_PER_DEAD, RUNS_PER_SCHEDULED = 100, 10
"""One dead and one scheduled job for so many runs."""
CODE = """
import json, time
from starlette.testclient import TestClient
import actors
from workshed.console.web import Who, create_app
from workshed.console.web.pages import list_pages

LOOKS = 5
browser = TestClient(create_app(authorize=lambda request: Who("bench", "operator")))
addresses = [
    *(page.path for page in list_pages() if page.group),
    "/jobs?actor=charge_card", "/jobs?outcome=dead", "/jobs?error=GatewayError&since=1h",
    "/jobs?argument=order_id%3D4711", "/jobs?queue=critical", "/job?id=run-1000",
    "/dead?error=GatewayError", "/scheduled?queue=critical",
]
found = {}
for address in addresses:
    took = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        answer = browser.get(address, headers={"accept": "text/html"})
        took.append(time.perf_counter() - began)
        assert answer.status_code == 200, (address, answer.text)
    found[address] = sorted(took)[LOOKS // 2]
print(json.dumps(found))
"""


def console(world: World, size: Size) -> list[Measurement]:
    """Fill the history of one hour, and request every page, in a separate process."""
    with world.connect_database() as conn:
        apply_pending(conn, list_streams())
        fill_history(conn, size.history_runs)
    environment = world.environment("ours", WORKSHED_SECRET_KEY="k" * 40)
    rounds: list[dict[str, float]] = [
        json.loads(run_python(["-c", CODE], environment, WITHIN_S)) for _ in range(size.rounds)
    ]
    found, count = median_figures(rounds), f"{size.history_runs:,}".replace(",", " ")
    if not found:
        raise BenchError("the console has no pages")
    slowest = max(found, key=lambda address: found[address])
    return [
        report_alone(
            f"slowest page above {count} runs, {slowest}", found[slowest], "s", at_most=TARGET_S
        ),
        report_alone(f"overview above {count} runs", found["/"], "s", at_most=TARGET_S),
    ]


def fill_history(conn: psycopg.Connection[Any], runs: int) -> None:
    """Write the runs of the last hour, and dead and scheduled jobs."""
    conn.execute("SELECT workshed.add_runs_partitions()")
    conn.execute("TRUNCATE workshed.runs, workshed.dead, workshed.schedule, workshed.attempts")
    conn.execute(
        """INSERT INTO workshed.runs (recorded_at, message_id, generation, attempt, queue, actor,
                                  outcome, reason, error_class, error, sent_at, published_at,
                                  started_at, ended_at, queue_wait_s, duration_s, worker, origin,
                                  tags, release, arguments)
           SELECT GREATEST(at, date_trunc('day', workshed.now())), 'run-' || n, 0, 1,
                  (ARRAY['default', 'critical', 'emails'])[1 + n %% 3],
                  CASE WHEN n %% 7 = 0 THEN 'charge_card' ELSE 'job_' || n %% 20 END,
                  CASE WHEN n %% 50 = 0 THEN 'dead' WHEN n %% 20 = 0 THEN 'retry'
                  ELSE 'succeeded' END,
                  '', CASE WHEN n %% 50 = 0 THEN 'GatewayError' END, NULL, at, at, at, at,
                  n %% 100 / 1000.0, n %% 300 / 1000.0, 'host:1', 'send', '{}', '1',
                  json_build_object('order_id', n)
             FROM generate_series(1, %(runs)s) AS n
            CROSS JOIN LATERAL (
                  SELECT workshed.now() - n * interval '1 hour' / %(runs)s AS at) AS ended""",
        {"runs": runs},
    )
    conn.execute(
        """INSERT INTO workshed.dead (message_id, generation, attempt, queue, actor, body, reason,
                                  error_class, died_at, place)
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
