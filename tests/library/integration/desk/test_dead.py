"""The page of dead jobs: why and where they died; retry and discard, of one job or of many."""

import html
import re

import orjson
import pytest

from workshed.console.operations import dead_jobs as operations
from workshed.console.operations.operation import Preview
from workshed.jobs.control import audit, queues
from workshed.jobs.control.queues import KnownActor
from workshed.jobs.dead import dead_jobs
from workshed.jobs.history import attempts
from workshed.jobs.locks import unique
from workshed.jobs.outbox import schedule
from workshed.settings import settings

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""


def refuse():
    raise ConnectionRefusedError("no server listens")


def failed(function=refuse):
    """Return the error that a function raises, with its traceback."""
    with pytest.raises(Exception) as found:  # noqa: PT011 -- of whatever kind
        function()
    return found.value


@pytest.fixture
def bury(conn):
    """`bury("a", key="k")`: store a dead job, by default because `refuse` failed."""

    def bury(message_id, *, actor="greet", key=None, args=(7,), **changes):
        options = {"generation": 2, "attempt": 3} | ({} if key is None else {"unique_key": key})
        fields = {
            "queue_name": "default",
            "actor_name": actor,
            "args": args,
            "kwargs": {},
            "options": options,
            "message_id": message_id,
            "message_timestamp": 1_700_000_000_000,
        }
        usual = {
            "generation": 2,
            "attempt": 3,
            "queue": "default",
            "body": orjson.dumps(fields),
            "reason": "failed 3 times: ConnectionRefusedError: no server listens",
            "error": failed(),
        }
        dead_jobs.add_dead_job(conn, message_id=message_id, actor=actor, **{**usual, **changes})
        return message_id

    return bury


@pytest.fixture
def die_at(conn):
    """`die_at("a", "2 hours")`: let it have died so long ago."""

    def die_at(message_id, ago):
        query = (
            "UPDATE workshed.dead SET died_at = workshed.now() - %s::interval WHERE message_id = %s"
        )
        conn.execute(query, (ago, message_id))

    return die_at


def ids(conn):
    return {row.message_id for row in dead_jobs.list_dead_jobs(conn)}


def read_question(answer):
    """Return the question of a page, and the fields of its form."""
    assert answer.status_code == 200, answer.text
    said = re.search(r"<h1>.*?</h1>\s*<p>(.*?)</p>", answer.text, re.DOTALL)[1]
    fields = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', answer.text)
    return said, [(name, value) for name, value in fields if name != "csrf"]


GROUP = {"every": "yes", "error": "ConnectionRefusedError", "actor": "greet"}


# What is shown


def test_without_dead_jobs_the_page_says_so(operator):
    page = operator.get("/dead")

    assert "No dead jobs." in page.text
    shown = operator.json("/dead")
    assert (shown["count"], shown["groups"], shown["jobs"]) == (0, [], [])


def test_without_a_match_the_page_says_so(operator, bury):
    bury("a")

    assert "No matching dead jobs." in operator.get("/dead?actor=wave").text
    assert operator.json("/dead?actor=wave")["jobs"] == []


def test_dead_jobs_are_grouped_by_error_actor_and_place(operator, bury, die_at, monkeypatch):
    """Two defects with one error class are two groups; a defect on two machines is one."""
    monkeypatch.setenv("WORKSHED_RELEASE", "r1")
    settings.cache_clear()
    bury("a")
    die_at("a", "3 hours")
    monkeypatch.setenv("WORKSHED_RELEASE", "r2")
    settings.cache_clear()
    bury("b")
    bury("elsewhere", error=failed(refuse_elsewhere))
    bury("other actor", actor="wave")

    shown = operator.json("/dead")

    line = refuse.__code__.co_firstlineno + 1
    first = shown["groups"][0]
    assert (first["error_class"], first["actor"]) == ("ConnectionRefusedError", "greet")
    assert first["error_location"] == f"desk/test_dead.py:{line} in refuse"
    assert (first["count"], first["release"]) == (2, "r1")
    assert first["first_at"] < first["last_at"]
    assert (sum(first["hours"]), len(first["hours"])) == (2, 24)
    assert (first["hours"][-1], first["hours"][-4]) == (1, 1)
    assert sorted(group["count"] for group in shown["groups"]) == [1, 1, 2]
    assert shown["count"] == 4


def refuse_elsewhere():
    raise ConnectionRefusedError("no server listens")


def test_the_page_of_a_group_has_its_jobs_alone(operator, bury):
    bury("a")
    bury("b", error=None, reason="killed 3 times")
    [group] = [one for one in operator.json("/dead")["groups"] if one["error_location"] is None]

    shown = operator.json(
        "/dead?error={error}&actor={actor}&error_location={error_location}".format(**group["query"])
    )

    assert [job["message_id"] for job in shown["jobs"]] == ["b"]
    assert [one["count"] for one in shown["groups"]] == [1]


@pytest.mark.parametrize("query", ["queue=bulk", "actor=wave", "error=-", "since=1h"])
def test_filters_select_jobs(operator, bury, die_at, query):
    bury("old")
    die_at("old", "2 hours")
    bury("wanted", queue="bulk", actor="wave", error=None)

    shown = operator.json(f"/dead?{query}")

    assert [job["message_id"] for job in shown["jobs"]] == ["wanted"]
    assert [group["count"] for group in shown["groups"]] == [1]


@pytest.fixture
def known(conn):
    """The actors and queues that workers have declared."""
    queues.declare_actors(conn, [KnownActor(one, "default") for one in ("greet", "greet_all")])
    queues.declare_queues(conn, {"bulk": "quorum", "bulk_low": "quorum"})


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("actor=gree", {"a", "b"}),
        ("actor=greet", {"a"}),
        ("actor=greet*", {"a", "b"}),
        ("error=Connection", {"a", "b"}),
        ("error=Value", set()),
        ("queue=bul", {"a", "b"}),
        ("queue=bulk", {"a"}),
    ],
)
def test_a_name_is_found_by_its_beginning_unless_it_is_one_itself(
    operator, bury, known, query, found
):
    bury("a", queue="bulk")
    bury("b", queue="bulk_low", actor="greet_all")
    bury("c", actor=None, error=None, reason="not JSON")

    shown = operator.json(f"/dead?{query}")

    assert {job["message_id"] for job in shown["jobs"]} == found
    assert sum(group["count"] for group in shown["groups"]) == len(found)


def test_the_page_suggests_names_and_says_what_a_beginning_matches(operator, bury, known):
    bury("a")

    text = operator.get("/dead?actor=gree").text

    assert '<option value="greet_all"></option>' in text
    assert '<option value="ConnectionRefusedError"></option>' in text
    assert '<option value="bulk_low"></option>' in text
    assert "Matches greet, greet_all." in text


def test_a_wrong_filter_is_marked_in_its_form(operator, bury):
    bury("a")

    answer = operator.get("/dead?since=soon&actor=greet")

    assert answer.status_code == 400
    assert re.search(r'name="since" value="soon"[^>]* aria-invalid="true" autofocus', answer.text)
    assert '<input name="actor" value="greet"' in answer.text
    assert "is not a duration" in answer.text
    assert "No dead jobs" not in answer.text
    assert "data-live" not in answer.text
    assert operator.get("/dead?since=9999999d").status_code == 400


def test_paging_shows_each_job_once(operator, bury, die_at, conn):
    """This holds even if many died at the same instant."""
    for number in range(120):
        bury(f"job~{number}")
    conn.execute("UPDATE workshed.dead SET died_at = date_trunc('hour', workshed.now())")
    die_at("job~7", "2 hours")
    found, path = [], "/dead"

    while path:
        shown = operator.json(path)
        found += [job["message_id"] for job in shown["jobs"]]
        path = shown["older"] and f"/dead?before={shown['older'].replace('+', '%2B')}"

    assert len(found) == len(set(found)) == 120
    assert found[-1] == "job~7"
    assert shown["groups"] == []
    assert operator.get("/dead?before=~").status_code == 400


def test_secrets_are_not_shown(operator, bury, conn):
    queues.declare_actors(
        conn, [KnownActor("greet", "default", parameters=["token"], redact=["token"])]
    )
    bury("a", args=["s3cret"])

    page, data = operator.get("/dead").text, operator.json("/dead")

    assert "s3cret" not in page + str(data)
    assert data["jobs"][0]["message_id"] == "a"


def test_text_from_outside_is_escaped(operator, bury):
    bury('a"><script>alert(1)</script>', reason="<b>\x1b[2J</b>")
    bury("", actor=None, body=b"\x00\xff", reason="not JSON", error=ValueError())

    page = operator.get("/dead").text

    assert "<script>alert" not in page
    assert "<b>" not in page
    assert "\x1b" not in page
    assert "unreadable" in page


def test_a_reader_sees_no_buttons(reader, bury):
    bury("a")

    page = reader.get("/dead").text

    assert '<a href="/job?id=a">' in page
    assert "/dead/retry" not in page
    assert "checkbox" not in page.partition("<dialog")[0]


# Retry


def test_a_single_job_is_retried_without_a_question(operator, bury, conn):
    bury("a")
    bury("b")

    said = operator.submit(
        "/dead/retry", [("id", "b"), ("one", "a"), ("back", "/dead?actor=greet")]
    )

    assert said == "a: retried."
    assert [row.message_id for row in schedule.list_scheduled(conn)] == ["a"]
    assert ids(conn) == {"b"}
    [entry] = audit.list_entries(conn)
    assert (entry.performed_by, entry.action, entry.count) == ("olga", "dead.retry", 1)
    assert entry.details == {"ids": ["a"]}


def test_a_group_is_retried_after_a_confirmation(operator, bury, conn):
    for name in ("a", "b", "c"):
        bury(name)
    bury("other", actor="wave")

    said, again = read_question(operator.post("/dead/retry", GROUP))

    assert said == "This would retry 3 jobs."
    assert len(ids(conn)) == 4
    assert (schedule.list_scheduled(conn), audit.list_entries(conn)) == ([], [])
    assert operator.submit("/dead/retry", again) == "a: retried; b: retried; c: retried."
    assert ids(conn) == {"other"}
    [entry] = audit.list_entries(conn)
    assert entry.details == {"all": True, "error": "ConnectionRefusedError", "actor": "greet"}


def test_a_group_is_retried_by_its_exact_names(operator, bury, conn):
    """Others that begin with them are other groups, also if this one has no jobs left."""
    queues.declare_actors(conn, [KnownActor("greet_all", "default")])
    bury("a", actor="greet_all")

    answer = operator.post("/dead/retry", GROUP)

    assert answer.status_code == 404
    assert ids(conn) == {"a"}


def test_a_group_is_retried_in_the_queues_that_the_page_has_shown(operator, bury, known, conn):
    bury("a", queue="bulk")
    bury("b", queue="bulk_low")
    bury("c")
    [group] = operator.json("/dead?queue=bul")["groups"]

    said, again = read_question(operator.post("/dead/retry", group["query"] | {"every": "yes"}))

    assert said == f"This would retry {group['count']} jobs."
    assert operator.submit("/dead/retry", again) == "a: retried; b: retried."
    assert ids(conn) == {"c"}


@pytest.mark.parametrize("path", ["/dead/retry", "/dead/discard"])
def test_a_program_that_names_a_queue_means_only_this_one(operator, bury, known, conn, path):
    bury("a", queue="bulk")
    bury("b", queue="bulk_low")

    answer = operator.post(path, {"every": "yes", "queue": "bul", "sure": "yes"})

    assert answer.status_code == 404
    assert ids(conn) == {"a", "b"}
    operator.post(path, {"every": "yes", "queue": "bulk", "sure": "yes"})
    assert ids(conn) == {"b"}
    operator.post(path, {"every": "yes", "queue": "bul*", "sure": "yes"})
    assert ids(conn) == set()


@pytest.mark.parametrize("path", ["/dead/retry", "/dead/discard"])
@pytest.mark.parametrize(
    "wrong", [{"since": "soon"}, {"since": "9999999d"}, {"until": "soon"}], ids=str
)
def test_a_wrong_field_of_a_form_changes_nothing(operator, bury, conn, path, wrong):
    bury("a")

    answer = operator.post(path, GROUP | wrong | {"sure": "yes"})

    assert answer.status_code == 400
    assert ids(conn) == {"a"}


def test_a_job_that_dies_while_a_person_decides_is_not_included(operator, bury, conn):
    bury("a")
    _, again = read_question(operator.post("/dead/discard", GROUP))
    bury("later")

    operator.submit("/dead/discard", again)

    assert ids(conn) == {"later"}


def test_jobs_that_would_wait_for_their_key_are_counted(operator, bury, conn):
    """Held by a living job, free but wanted by two jobs, or held by the dead job itself."""
    unique.acquire_key(conn, unique.KeyClaim("held", "alive", 0, "greet", "default"))
    unique.acquire_key(conn, unique.KeyClaim("mine", "its own", 2, "greet", "default"))
    bury("waits", key="held")
    bury("first", key="free")
    bury("second", key="free")
    bury("its own", key="mine")
    bury("without")

    said, _ = read_question(operator.post("/dead/retry", GROUP))

    assert said == (
        "This would retry 5 jobs. 2 of 5 jobs have a unique key that another job holds: "
        "they wait for it."
    )


def test_an_expired_key_makes_no_job_wait(operator, bury, conn):
    unique.acquire_key(conn, unique.KeyClaim("k", "alive", 0, "greet", "default"))
    conn.execute("UPDATE workshed.unique_locks SET expires_at = workshed.now()")
    bury("a", key="k")

    said, _ = read_question(operator.post("/dead/retry", GROUP))

    assert said == "This would retry 1 job."


def test_an_unreadable_job_is_counted_and_stays(operator, bury, conn):
    bury("a")
    bury("b", body=b"nonsense")
    chosen = [("id", "a"), ("id", "b"), ("id", "gone")]

    said, again = read_question(operator.post("/dead/retry", chosen))

    assert said == "This would retry 1 job. 1 job cannot be read and stays dead."
    assert operator.submit("/dead/retry", again) == (
        "a: retried; b: cannot be read; gone: no longer dead."
    )
    assert ids(conn) == {"b"}
    refused = operator.post("/dead/retry", {"one": "b"})
    assert refused.status_code == 409
    assert "was not taken for a job" in refused.text


def test_only_a_limited_number_is_retried_at_once(operator, bury, conn, monkeypatch):
    monkeypatch.setattr("workshed.console.web.pages.dead_actions.MOST_PER_CLICK", 2)
    for name in ("a", "b", "c"):
        bury(name)

    said, again = read_question(operator.post("/dead/retry", GROUP))

    assert said == "This would retry 2 jobs. 1 more remains for another click."
    assert operator.submit("/dead/retry", again) == (
        "a: retried; b: retried. 1 more remains for another click."
    )
    assert ids(conn) == {"c"}


def test_an_id_of_any_characters_names_only_that_job(operator, bury, conn):
    """If it were cleaned for display, it would name no job, or another."""
    odd = 'a\x1b[31m "<&\u202e%41'
    bury(odd)
    bury("b")

    page = operator.get("/dead").text
    [value] = re.findall(r'type="checkbox" name="id" value="([^"]*a\x1b[^"]*)"', page)
    operator.submit("/dead/retry", {"id": html.unescape(value)})

    assert ids(conn) == {"b"}


# Discard


def test_a_single_job_is_discarded_after_a_confirmation(operator, bury, conn):
    bury("a")

    said, again = read_question(operator.post("/dead/discard", {"one": "a"}))

    assert said == "This would discard 1 job. It can then no longer be retried."
    assert ids(conn) == {"a"}
    assert operator.submit("/dead/discard", again) == "a: discarded."
    assert ids(conn) == set()
    [attempt] = attempts.list_job_attempts(conn, "a")
    assert (attempt.outcome, attempt.reason) == ("discarded", "by olga on the console")


def test_ticked_jobs_are_discarded(operator, bury, conn):
    for name in ("a", "b", "c"):
        bury(name)

    said, again = read_question(operator.post("/dead/discard", [("id", "a"), ("id", "c")]))
    operator.submit("/dead/discard", again)

    assert said == "This would discard 2 jobs. They can then no longer be retried."
    assert ids(conn) == {"b"}


def test_a_job_that_dies_after_the_preview_is_not_discarded_without_a_question(
    operator, bury, conn, monkeypatch
):
    bury("a")
    monkeypatch.setattr(operations, "_preview_discard", lambda *_: Preview(0))

    answer = operator.post("/dead/discard", {"one": "a"})

    assert (answer.status_code, "state has just changed" in answer.text) == (409, True)
    assert ids(conn) == {"a"}
    assert audit.list_entries(conn) == []


# Refused requests


@pytest.mark.parametrize("path", ["/dead/retry", "/dead/discard"])
@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({}, 409, "No job is selected."),
        ({"one": "gone"}, 404, "gone: no longer dead. Another operator has already handled it"),
        (
            {"id": "gone", "sure": "yes"},
            404,
            "gone: no longer dead. Another operator has already handled it",
        ),
        (
            {"every": "yes", "actor": "unknown"},
            404,
            "Jobs: none. Another operator has already handled it",
        ),
        ({"every": "yes", "since": "yesterday"}, 400, "is not a duration"),
        ({"every": "yes", "until": "yesterday"}, 400, "is not a time"),
    ],
)
def test_a_refused_request_says_why(operator, bury, conn, path, fields, status, said):
    bury("a")

    answer = operator.post(path, fields)

    assert (answer.status_code, said in answer.text) == (status, True)
    assert ids(conn) == {"a"}
    assert audit.list_entries(conn) == []


def test_no_form_leads_to_another_site(operator, bury):
    bury("a")

    page = operator.post("/dead/discard", {"one": "a", "back": "//evil.example"}).text

    assert "evil" not in page
