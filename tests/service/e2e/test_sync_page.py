"""The example of docs/sync.md, with real workers and a source that misbehaves."""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from actors import sync_critical_data, sync_record
from shop import people
from shop.demo.faulty_api import FAULTS, FaultyApi
from shop.sync import sources
from shop.sync.errors import FatalSourceError, SourceError
from tests import pages
from tests.processes import popen
from tests.service.integration.sync.test_client import MEANING
from tests.service.variables import NAMES
from tests.transcripts import check, shell
from workshed import db

PAGE = pages.text("docs/sync.md")
COMMANDS = pages.block("docs/sync.md", "export SHOP_SYNC_ORIGINS")
MISBEHAVE = pages.block("docs/sync.md", "curl")
[(NAME, TEXT)] = pages.files("docs/sync.md").items()


@pytest.fixture
def api():
    with FaultyApi(token="s3cret", page=3) as found:
        for name in "abcdef":
            found.put(name, associations=[("owner", "a")])
        yield found


@pytest.fixture
def numbers():
    """Workers serve their own metrics."""
    return {}


@pytest.fixture
def setting(api, environment, tmp_path):
    """The environment of the example, with the source next to it."""
    (tmp_path / NAME).write_text(TEXT)
    return {
        **environment,
        "SHOP_SYNC_ORIGINS": api.origin,
        "SHOP_SYNC_TOKENS": "crm=s3cret",
        "SHOP_SYNC_TIMEOUT": "5",
    }


def test_the_example_keeps_what_the_source_has(api, setting, run, start_worker, count, eventually):
    worker = start_worker(env=setting)

    code, said = run(NAME, api.origin, **setting)
    assert code == 0, said
    kept = "shop.sync_records WHERE version = {} AND deleted_at IS NULL"
    eventually(lambda: count(kept.format(1)) == 6)

    api.put("c", 2)
    code, said = run(NAME, "changed", "c", **setting)
    assert code == 0, said
    eventually(lambda: count(kept.format(2)) == 1)
    age = eventually(lambda: read_metric(worker, "sync_age_seconds"))
    assert 0 <= float(age['{source="crm"}']) < 600
    requests = read_metric(worker, "sync_requests_total")
    assert float(requests['{outcome="answered",source="crm"}']) >= 9


def test_a_dead_sync_is_reported(
    api, setting, run, start_worker, count, eventually, sentry, workshed
):
    with db.transaction() as conn:
        user = people.create(conn, name="Ada", email="ada@example.org")
        conn.execute(
            "UPDATE shop.users SET admin = true, activated_at = workshed.now() WHERE id = %s",
            (user.id,),
        )
    api.queue_faults("401")
    worker = start_worker(env={**setting, "WORKSHED_SENTRY_DSN": sentry.dsn})

    code, said = run(NAME, api.origin, **setting)

    assert code == 0, said
    eventually(lambda: count("workshed_mail.emails WHERE state = 'sent' AND kind = 'sync_failing'"))
    assert count("workshed.dead WHERE actor = 'sync_critical_data'") == 1
    assert "crm: 401 Unauthorized" in workshed("sync")
    assert worker.stop() == 0
    [event] = sentry.of("event")
    assert event["exception"]["values"][-1]["type"] == "RefusedRequestError"
    lines = [json.loads(line) for line in worker.text().splitlines() if line.startswith("{")]
    traces = [str(line["exception"]) for line in lines if line.get("exception")]
    assert any("RefusedRequestError" in trace and "'_read_response'" in trace for trace in traces)
    assert "s3cret" not in worker.text()


def test_the_commands_of_the_page_add_a_source_and_begin_to_read_it(broker, environment, tmp_path):
    said = shell(tmp_path, **environment)(COMMANDS)

    check(
        "crm https://api.example.org/v1 ID sync_critical_data on critical: on its way "
        "source records all read now crm 0 never well https://api.example.org/v1",
        said,
    )


def test_the_server_of_the_page_misbehaves_on_demand(tmp_path):
    with popen(
        [sys.executable, "-m", "shop.demo.faulty_api"], stdout=subprocess.PIPE, text=True
    ) as server:
        url = server.stdout.readline().strip()
        place = url.removeprefix("http://").partition("/")[0]
        shell(tmp_path)(MISBEHAVE.replace("127.0.0.1:8123", place))
        statuses = [status_of(url) for _ in range(4)]
        server.terminate()
    assert statuses == [429, 500, 200, 200]


def test_the_pages_table_of_errors_is_correct():
    rows = re.findall(r"^\| .+? \| (`\w+`(?:, `\w+`)*) \| (retry|alert|dead)", PAGE, re.MULTILINE)
    said = {name: verdict for names, verdict in rows for name in re.findall(r"`(\w+)`", names)}

    known = leaves(SourceError)
    assert said == {one.__name__: one.verdict for one in known}
    assert set(MEANING.values()) <= known
    assert all(issubclass(one, FatalSourceError) == (one.verdict == "dead") for one in known)
    assert set(FAULTS) >= {"429", "500", "cut-json"}


def status_of(url):
    try:
        with urllib.request.urlopen(url) as answer:  # noqa: S310 -- ours
            return answer.status
    except urllib.error.HTTPError as err:
        err.close()
        return err.code


def leaves(error):
    below = error.__subclasses__()
    return set().union(*map(leaves, below)) if below else {error}


def test_the_numbers_of_the_page_are_those_of_the_code():
    assert "five times in a row" in PAGE
    assert sources.FAILURE_THRESHOLD == 5
    assert (sources.FIRST_OPEN_TIME.seconds, sources.LONGEST_OPEN_TIME.seconds) == (30, 900)
    rule = sync_critical_data.options["retry_on"]
    assert rule is sync_record.options["retry_on"]
    assert rule.group.attempts == 10


def test_the_settings_of_the_page_exist():
    names = set(re.findall(r"((?:WORKSHED|SHOP)_\w+)", PAGE))

    assert names <= NAMES


def read_metric(worker, name):
    """Return the values of a service metric that a worker serves, by their labels."""
    [url] = re.findall(r"metrics are at (http://\S+?/metrics)", worker.text())
    with urllib.request.urlopen(url) as answer:  # noqa: S310 -- ours
        page = answer.read().decode()
    lines = re.findall(rf"^shop_{name}(\{{.*?\}}) (\S+)$", page, re.MULTILINE)
    return dict(lines)
