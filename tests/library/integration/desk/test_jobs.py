"""The page of jobs: finished and running jobs, by filters in the address."""

import html
import json
import re
import threading
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.library.integration.console.conftest import bury, env, ran, store
from workshed.console.web.pages import job_search, jobs
from workshed.jobs.control import queues, workers
from workshed.jobs.control.queues import KnownActor
from workshed.jobs.control.workers import WorkerIdentity
from workshed.jobs.history import error_classes, search

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

__all__ = ["bury", "env", "ran", "store"]

SINCE = datetime.now(UTC) - timedelta(minutes=5)


@pytest.fixture
def runs_now(conn):
    """`runs_now([{"message_id": …}])`: the running jobs that a worker reported at its last beat."""

    def say(running, beat="0 s"):
        process = WorkerIdentity(uuid4(), "web-1", 77, 8, "r5")
        workers.record_heartbeat(conn, process, 1, [])
        query = """
            UPDATE workshed.workers
               SET running = %s::jsonb, beat_at = workshed.now() - %s::interval
             WHERE id = %s
        """
        conn.execute(query, (json.dumps(running), beat, process.id))

    return say


@pytest.fixture
def known(conn):
    """The actors and queues that workers have declared."""
    names = ("charge", "charge_card", "charge_refund", "ship")
    queues.declare_actors(conn, [KnownActor(name, "default") for name in names])
    queues.declare_queues(conn, dict.fromkeys(("critical", "low"), "quorum"))


@pytest.fixture
def small_looks(monkeypatch):
    """Each look ends after its first step, of two runs."""
    monkeypatch.setattr(search, "FIRST_STEP", 2)
    monkeypatch.setattr(job_search, "QUICK_S", 0)
    monkeypatch.setattr(job_search, "SEARCH_S", 0)


def job(message_id, **fields):
    usual = {"actor": "greet", "queue": "default", "since": SINCE.isoformat()}
    return {"message_id": message_id, **usual, **fields}


def ids(page_data):
    return [run["message_id"] for run in page_data["runs"]]


def test_without_a_run_the_page_shows_how_to_make_one(operator):
    text = operator.get("/jobs").text

    assert "workshed enqueue NAME" in text
    assert "No matching runs" in operator.get("/jobs?actor=stranger").text
    assert "No such job is running" in operator.get("/jobs?state=running").text


def test_runs_are_shown_the_latest_first(operator, ran):
    ran("a")
    ran("b", outcome="dead", error_class="OSError", reason="OSError: away", tags=["order-7"])

    shown, text = operator.json("/jobs"), operator.get("/jobs").text

    assert ids(shown) == ["b", "a"]
    assert shown["runs"][1]["call"] == "greet(user_id=7)"
    assert 'href="/job?id=b"' in text
    assert 'href="/jobs?tag=order-7"' in text
    assert "OSError: away" in text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("actor=pay", ["pay"]),
        ("queue=low", ["low"]),
        ("outcome=retry", ["retry"]),
        ("outcome=failed", ["dead", "retry"]),
        ("error=OSError", ["retry"]),
        ("tag=order-7", ["tagged"]),
        ("parent=a", ["child"]),
        ("argument=user_id%3D8", ["eight"]),
        ("argument=user_id%3D%228%22", []),
        ("argument=8", ["eight"]),
        ("argument=%228%22", []),
        ("argument=user_id", []),
        ("longer_than=1m", ["slow"]),
        ("since=1h&actor=pay", ["pay"]),
    ],
)
def test_filters_in_the_address_select_runs(operator, ran, query, found):
    ran("plain")
    ran("pay", actor="pay")
    ran("low", queue="low")
    ran("retry", outcome="retry", error_class="OSError")
    ran("dead", outcome="dead")
    ran("tagged", tags=["order-7"])
    ran("child", parent="a")
    ran("eight", arguments={"user_id": 8})
    ran("slow", duration_s=61.0)

    assert ids(operator.json(f"/jobs?{query}")) == found


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("argument=a%3D%22%5Cud800%22", "PostgreSQL cannot store"),
        ("argument=a%3D%22%5Cu0000%22", "PostgreSQL cannot store"),
        ("argument=1e400", "PostgreSQL cannot store"),
        ("argument=[7]", "write NAME=[7]"),
        ("outcome=ded", "did you mean"),
        ("since=yesterday", "is not a duration"),
        ("since=99999999d", "is too long: at most 36500d"),
        ("since=9999999999999d", "is too long"),
        ("until=2026-11-26T14:02", "needs a time zone"),
        ("longer_than=36501d", "is too long: at most 36500d"),
    ],
)
def test_a_wrong_filter_is_marked_in_its_form(operator, query, said):
    """The page keeps its layout and all values, the focus is on the wrong one."""
    name = query.partition("=")[0]

    answer = operator.get(f"/jobs?{query}&tag=order-7&parent=boss")
    as_json = operator.client.get(f"/jobs.json?{query}")

    assert answer.status_code == 400
    assert said in html.unescape(extract(rf'id="about-{name}">(.*?)<', answer.text))
    element = extract(rf'<((?:input|select) name="{name}"[^>]*)>', answer.text)
    assert 'aria-invalid="true" autofocus' in element
    assert f'aria-describedby="{"searches " * (name in SEARCHES)}about-{name}"' in element
    assert answer.text.count("aria-invalid") == 1
    assert '<input name="tag" value="order-7"' in answer.text
    assert '<input type="hidden" name="parent" value="boss"' in answer.text
    assert '<a href="/dead"' in answer.text
    assert "No matching runs" not in answer.text
    assert as_json.status_code == 400
    assert as_json.json()["field"] == name
    assert as_json.json()["error"].startswith(f"{name}: ")
    assert said in as_json.json()["error"]


SEARCHES = ("tag", "argument", "longer_than")


def extract(pattern, text):
    """Return what a pattern matches in a page."""
    return re.search(pattern, text, re.DOTALL)[1]


def test_a_wrong_value_stays_in_its_field(operator):
    since = operator.get("/jobs?since=yester%22day").text
    outcome = operator.get("/jobs?outcome=ded").text

    assert '<input name="since" value="yester&#34;day"' in since
    assert '<option value="ded" selected>' in outcome


def test_a_wrong_position_is_reported_without_a_field(operator):
    answer = operator.get("/jobs?before=7&tag=order-7")

    assert answer.status_code == 400
    assert "is not a position in the history" in answer.text
    assert 'href="/jobs?tag=order-7">continue without it' in answer.text
    assert operator.get("/jobs?before=99999999999999999.9999999999999999999").status_code == 200


@pytest.mark.parametrize(
    ("query", "page_data"),
    [
        ("actor=ship", ["ship"]),
        ("actor=sh", ["ship"]),
        ("actor=charge", ["charge"]),
        ("actor=charge*", ["charge_refund", "charge_card", "charge"]),
        ("actor=charge_", ["charge_refund", "charge_card"]),
        ("actor=removed", ["removed"]),
        ("actor=remo", []),
        ("queue=crit", ["critical"]),
        ("error=Gateway", ["qualified", "gateway"]),
        ("error=GatewayError", ["gateway"]),
        ("error=shop.", ["qualified"]),
        ("error=Old", ["old"]),
        ("error=*", ["old", "qualified", "gateway"]),
        ("actor=charge_&queue=crit", []),
    ],
)
def test_a_name_is_found_by_its_beginning_unless_it_is_one_itself(
    operator, ran, known, query, page_data
):
    """A link to an actor shows its runs alone, although others begin with its name."""
    for actor in ("charge", "charge_card", "charge_refund", "ship", "removed"):
        ran(actor, actor=actor)
    ran("critical", queue="critical")
    ran("gateway", outcome="dead", error_class="GatewayError")
    ran("qualified", outcome="retry", error_class="shop.GatewayError")
    ran("old", outcome="dead", error_class="OldError")

    assert ids(operator.json(f"/jobs?{query}")) == page_data


def test_an_error_class_that_is_not_suggested_is_found(operator, ran, monkeypatch):
    """Only recent classes are known, so that a beginning may match more than these."""
    monkeypatch.setattr(error_classes, "MOST_RUNS", 1)
    ran("old", outcome="dead", error_class="GatewayTimeout")
    ran("new", outcome="dead", error_class="GatewayError")

    assert ids(operator.json("/jobs?error=Gateway")) == ["new", "old"]
    assert ids(operator.json("/jobs?error=GatewayT")) == ["old"]


def test_the_page_suggests_names_and_says_what_a_beginning_matches(operator, ran, known, bury):
    ran("a", outcome="dead", error_class="RunError")
    bury("d")

    text = operator.get("/jobs?actor=charge_&queue=l").text

    assert suggestions("actor", text) == ["charge", "charge_card", "charge_refund", "ship"]
    assert suggestions("queue", text) == ["critical", "low"]
    assert suggestions("error", text) == ["RunError", "ValueError"]
    assert extract('id="about-actor">(.*?)<', text) == "Matches charge_card, charge_refund."
    assert extract('id="about-queue">(.*?)<', text) == "Matches low."
    assert "charge* also matches 2 more." in operator.get("/jobs?actor=charge").text
    assert "did you mean &#39;charge&#39;" in operator.get("/jobs?actor=chrge").text
    assert "about-actor" not in operator.get("/jobs?actor=ship").text


def suggestions(name, text):
    """Return the names that a page suggests for a field."""
    listed = extract(f'<datalist id="known-{name}">(.*?)</datalist>', text)
    return re.findall('<option value="(.*?)">', listed)


def test_the_page_says_what_it_compares_with_an_argument(operator):
    def note(value):
        text = operator.get(f"/jobs?argument={quote(value)}").text
        return html.unescape(extract('id="about-argument">(.*?)<', text))

    number = 'a number. For the text, write "6120" in quotes.'
    assert note("6120") == f"Matches jobs with any argument equal to 6120, {number}"
    assert note("user_id=6120") == f"Matches jobs whose argument user_id equals 6120, {number}"
    assert note("card") == 'Matches jobs with any argument equal to "card", a text.'
    assert note("a=[1]") == "Matches jobs whose argument a contains [1]."


@pytest.fixture
def minutes(conn, ran):
    """Runs of the minutes from 9:00 to 9:04 of a day, each named for its second."""
    conn.execute("""
        CREATE TABLE workshed.runs_of_then PARTITION OF workshed.runs
           FOR VALUES FROM ('2001-01-02 00:00Z') TO ('2001-01-03 00:00Z')
    """)
    conn.execute(
        """
        INSERT INTO workshed.runs (recorded_at, message_id, generation, attempt, queue, actor,
                                   outcome, reason, sent_at, ended_at, worker, origin, release)
        SELECT '2001-01-02 09:00Z'::timestamptz + n * interval '1 s', n, 0, 1,
               CASE WHEN n % 4 = 0 THEN 'low' ELSE 'default' END,
               CASE WHEN n % 8 = 0 THEN 'pay' ELSE 'greet' END,
               CASE WHEN n % 40 = 0 THEN 'retry' WHEN n % 20 = 0 THEN 'snoozed'
               ELSE 'succeeded' END, '', now(), now(), 'web-1:77', 'send', ''
          FROM generate_series(0, 299) AS n
        """
    )


FROM_TO = "since=2001-01-02T09:01Z&until=2001-01-02T09:03Z"


def test_runs_are_filtered_from_one_time_to_another(operator, minutes):
    shown = operator.json(f"/jobs?{FROM_TO}&outcome=failed")
    exact = operator.json("/jobs?since=2001-01-02T09:01:40Z&until=2001-01-02T10:01:59%2B01:00")

    assert ids(shown) == ["160", "120", "80"]
    assert ids(exact) == [str(second) for second in range(118, 99, -1)]
    text = operator.get(f"/jobs?{FROM_TO}").text
    assert '<input name="since" value="2001-01-02T09:01Z"' in text
    assert 'value="2001-01-02T09:03Z"' in text


def test_a_time_span_is_read_page_by_page(operator, minutes):
    found, address = [], f"/jobs?{FROM_TO}"
    while address:
        shown = operator.json(address)
        found += ids(shown)
        address = shown["older"] and f"/jobs?{FROM_TO}&before={shown['older']}"

    assert found == [str(second) for second in range(179, 59, -1)]


@pytest.mark.parametrize(
    ("filters", "counts"),
    [
        ("", {"all": 120, "succeeded": 114, "failed": 3}),
        ("&outcome=failed", {"all": 120, "succeeded": 114, "failed": 3}),
        ("&actor=pay", {"all": 15, "succeeded": 12, "failed": 3}),
        ("&queue=default", {"all": 90, "succeeded": 90, "failed": 0}),
        ("&actor=greet&queue=low", {"all": 15, "succeeded": 12, "failed": 0}),
    ],
)
@pytest.mark.parametrize("is_kept", [True, False], ids=["minutes", "rows"])
def test_the_runs_of_whole_minutes_are_counted_without_a_limit(
    operator, minutes, monkeypatch, env, filters, counts, is_kept
):
    """Others are counted among the latest only."""
    if is_kept:
        env(RUNS_RETENTION="36500d")
        monkeypatch.setattr(jobs, "COUNTED_RUNS", 2)
        monkeypatch.setattr(jobs, "MOST_COUNTED", 2)
    else:
        env(RUNS_RETENTION="1s")  # then minutes may have counts of rows that were deleted

    found = operator.json(f"/jobs?{FROM_TO}{filters}")["counts"]

    for name, count in counts.items():
        assert found[name] == {"count": count, "more": False}


@pytest.mark.parametrize("is_crowded", [True, False], ids=["crowded", "long"])
def test_the_runs_of_an_actor_are_counted_by_row_if_minutes_would_be_wrong_or_slow(
    operator, conn, minutes, env, is_crowded
):
    env(RUNS_RETENTION="36500d")
    conn.execute("UPDATE workshed.run_counts SET count = 1000")  # the rows are right
    query = f"{FROM_TO}&actor=pay"
    if is_crowded:
        conn.execute(
            "INSERT INTO workshed.run_minutes "
            "VALUES ('2001-01-02 09:02Z', 'other', 'other', '', 'dead', 1, '{}', '{}')"
        )
    else:
        query = query.replace("2001-01-02T09:01Z", "2000-12-31T09:01Z")

    counts = operator.json(f"/jobs?{query}")["counts"]

    assert counts["all"] == {"count": 15 if is_crowded else 23, "more": False}


def test_runs_that_are_only_counted_are_not_in_the_counts_of_a_list(operator, conn, minutes, env):
    conn.execute("UPDATE workshed.run_counts SET count = count + 1000 WHERE outcome = 'succeeded'")
    env(RUNS_RETENTION="36500d", HISTORY="failures")

    found = operator.json(f"/jobs?{FROM_TO}")["counts"]

    assert (found["all"]["count"], found["succeeded"]["count"], found["failed"]["count"]) == (
        6,
        0,
        3,
    )


def test_the_history_is_read_page_by_page(operator, ran, monkeypatch):
    monkeypatch.setattr(job_search, "ROWS", 2)
    for name in "abcde":
        ran(name)

    first = operator.json("/jobs?queue=default")
    second = operator.json(f"/jobs?queue=default&before={first['older']}")
    last = operator.json(f"/jobs?queue=default&before={second['older']}")

    assert [ids(shown) for shown in (first, second, last)] == [["e", "d"], ["c", "b"], ["a"]]
    assert last["older"] is None
    assert f"before={first['older']}" in operator.get("/jobs?queue=default").text


@pytest.mark.parametrize("query", ["tag=rare", "actor=greet&tag=rare", "outcome=retry&tag=rare"])
def test_a_look_reads_some_runs_and_the_next_continues_from_there(
    operator, ran, small_looks, query
):
    """Otherwise a filter without an index would read the whole history."""
    ran("rare", tags=["rare"], outcome="retry")
    for number in range(6):
        ran(str(number), outcome="retry")

    looks = [operator.json(f"/jobs?{query}")]
    while older := looks[-1]["older"]:
        looks.append(operator.json(f"/jobs?{query}&before={older}"))

    assert [ids(shown) for shown in looks] == [[], [], [], ["rare"]]
    assert [shown["looked"] for shown in looks] == [2, 4, 6, 6]
    assert [shown["looked_down_to"] is None for shown in looks] == [False, False, False, True]


def test_nothing_is_called_missing_before_all_runs_were_looked_through(operator, ran, small_looks):
    for number in range(4):
        ran(str(number))

    first = operator.get("/jobs?tag=rare").text
    more = html.unescape(extract('rel="next" href="([^"]*)">Look further', first))
    second = operator.get(f"/jobs{more}").text
    more = html.unescape(extract('rel="next" href="([^"]*)">Look further', second))
    last = operator.get(f"/jobs{more}").text

    assert "Not found yet: looked through 2 runs, back to" in first
    assert "Not found yet: looked through 4 runs, back to" in second
    assert "No matching runs." not in first + second
    assert "No matching runs." in last
    assert "Look further" not in last


def test_a_search_that_has_found_some_says_how_far_it_has_looked(operator, ran, small_looks):
    for number in range(6):
        ran(str(number), tags=["rare"] if number == 5 else [])

    first = operator.get("/jobs?tag=rare").text
    more = html.unescape(extract('rel="next" href="([^"]*)">Look further', first))
    second = operator.get(f"/jobs{more}").text

    assert "Looked through 2 runs, back to" in first
    assert "Looked through 4 runs, back to" in second


def test_a_filter_with_an_index_looks_for_a_shorter_time(operator, ran, monkeypatch):
    """It may not take longer than other pages; a search says that it does."""
    ran("a")
    limits = []
    monkeypatch.setattr(search, "search_runs", note_limits(limits, search.search_runs))

    for query in ("", "actor=greet", "queue=default&outcome=failed&error=OSError&since=1d"):
        operator.json(f"/jobs?{query}")
    for query in ("tag=a", "argument=7", "argument=a%3D7", "longer_than=1s", "before=9.9.5.0"):
        operator.json(f"/jobs?{query}")

    assert limits == [job_search.QUICK_S] * 3 + [job_search.SEARCH_S] * 5


def test_few_searches_at_once_take_long(operator, ran, monkeypatch):
    """Otherwise they would take the connections that pages need."""
    ran("a")
    limits = []
    monkeypatch.setattr(search, "search_runs", note_limits(limits, search.search_runs))
    slots = threading.BoundedSemaphore(1)
    monkeypatch.setattr(job_search, "_searches", slots)

    with slots:
        operator.json("/jobs?tag=a")
    operator.json("/jobs?tag=a")
    operator.json("/jobs?tag=a")

    assert limits == [job_search.QUICK_S, job_search.SEARCH_S, job_search.SEARCH_S]


def note_limits(limits, search_runs):
    """Return the function, which now notes the time that each search is given."""

    def noted(*args, within_s, **options):
        limits.append(within_s)
        return search_runs(*args, within_s=within_s, **options)

    return noted


def test_the_states_are_counted(operator, ran, store, bury, runs_now):
    ran("a")
    ran("b", outcome="retry")
    ran("c", outcome="dead")
    store("w")
    bury("d")
    runs_now([job("r")])

    counts = operator.json("/jobs")["counts"]

    assert {name: one["count"] for name, one in counts.items()} == {
        "running": 1,
        "all": 3,
        "succeeded": 1,
        "failed": 2,
        "waiting": 1,
        "dead": 1,
    }
    assert not any(one["more"] for one in counts.values())


def test_counts_stop_at_a_limit(operator, ran, store, monkeypatch):
    for name in "abc":
        ran(name)
        store(name)
    monkeypatch.setattr(jobs, "MOST_COUNTED", 2)

    counts = operator.json("/jobs")["counts"]

    assert counts["all"] == counts["waiting"] == {"count": 2, "more": True}
    assert operator.json("/jobs?actor=greet")["counts"]["waiting"] is None


def test_no_match_among_the_counted_runs_is_no_count(operator, ran, monkeypatch):
    """`0+` would say nothing."""
    monkeypatch.setattr(jobs, "COUNTED_RUNS", 2)
    for number in range(4):
        ran(str(number))

    counts = operator.json("/jobs?tag=rare")["counts"]

    assert counts["all"] is None
    # Not the end of a time: `12:57:10+00:00`.
    assert not re.search(r"(?<!\d)0\+", operator.get("/jobs?tag=rare").text)
    assert operator.json("/jobs?tag=rare&since=1h")["counts"]["failed"] is None


def test_running_jobs_are_shown(operator, runs_now):
    runs_now([job("slow", since=(SINCE - timedelta(hours=1)).isoformat()), job("a", queue="low")])
    runs_now([job("gone")], beat="1 minute")

    shown, text = operator.json("/jobs?state=running"), operator.get("/jobs?state=running").text

    assert [one["message_id"] for one in shown["running"]] == ["slow", "a"]
    assert shown["running"][1]["worker"] == "web-1:77"
    assert re.search(r"\d[mh] ago", text)
    assert len(operator.json("/jobs?state=running&queue=low")["running"]) == 1


def test_unreadable_reports_of_a_worker_are_left_out(operator, runs_now):
    unclear = [None, [], "x", {}, job(7), job("x", since=None), job("x", since="now"), job("a")]
    runs_now(unclear)
    runs_now({"not": "a list"})

    shown = operator.json("/jobs?state=running")

    assert [one["message_id"] for one in shown["running"]] == ["a"]


def test_text_from_outside_is_escaped(operator, ran):
    evil = "<script>alert(1)</script>"
    ran(evil, actor=evil, queue=evil, tags=[evil], arguments={"a": evil}, reason=evil, parent=evil)

    text = operator.get("/jobs?parent=%3Cscript%3Ealert(1)%3C/script%3E&tag=" + evil).text

    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert" not in text
