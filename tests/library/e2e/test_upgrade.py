"""Workers are rolled from the code of an earlier release or commit to this one, under load.

In this code one actor has another name, and is on another queue.
"""

import itertools
import os
import signal
import subprocess
from pathlib import Path

import pytest

import workshed
from tests.library.e2e import releases
from tests.library.e2e.releases import start_sender
from tests.library.e2e.workers.supervised import Supervised, ups, wait_until_up
from tests.programs import RELAY_READY
from workshed.settings import PREFIX

__all__ = ["start_sender"]

NOW = Path(workshed.__file__).parents[1]
SENT_BY_NOW = 1_000_000
"""The code that is here numbers the jobs that it sends from this one on."""
RELAYS_READY = RELAY_READY, "relay is at work"
"""What relays log once they run: of this code, and of code before 0.2.0."""
ACTORS = """
from datetime import timedelta
from pathlib import Path

import dramatiq

import workshed
from workshed import db

from workshed import Queue, RetryOn, broker, schedule
from workshed.jobs import context

broker.add_queue(Queue("parts"))
broker.add_queue(Queue("letters", kind="classic", levels=4))
CODE = str(Path(workshed.__file__).resolve().parents[1])
SOON = RetryOn(OSError, attempts=20, wait=timedelta(milliseconds=50))


def write(kind, number):
    with db.transaction() as conn:
        conn.execute("INSERT INTO effects VALUES (%s, %s, %s)", (kind, number, CODE))


@dramatiq.actor(broker=broker, queue_name="parts")
def plain(number):
    write("plain", number)


@dramatiq.actor(broker=broker, queue_name="parts", once=True, retry_on=SOON)
def retried(number):
    write("retried", number)
    if context.current_job().attempt == 1:
        raise OSError("fails on purpose")


@dramatiq.actor(broker=broker, queue_name="letters", once=True)
def mailed(number):
    write("mailed", number)


@dramatiq.actor(broker=broker, queue_name="parts", once=True)
def committed(number):
    write("committed", number)


@dramatiq.actor(broker=broker, queue_name="parts", once=True)
def late(number):
    write("late", number)


def commit(number):
    with db.transaction() as conn:
        schedule.send(conn, committed.message(number))


WAYS = {
    "plain": plain.send,
    "retried": retried.send,
    "mailed": mailed.send,
    "committed": commit,
    "late": lambda number: late.send_with_options(args=(number,), delay=300),
}


def send(number):
    kind = [*WAYS][number % len(WAYS)]
    WAYS[kind](number)
    return kind
"""
BEFORE = """

@dramatiq.actor(broker=broker, queue_name="parts", once=True)
def ship(number):
    write("shipped", number)


WAYS["shipped"] = ship.send
"""
AFTER = """
broker.add_queue(Queue("parcels"))


@dramatiq.actor(broker=broker, queue_name="parcels", once=True)
def dispatch(number):
    write("shipped", number)


@dramatiq.actor(broker=broker, queue_name="parts", once=True)
def ship(number):
    dispatch(number)


WAYS["shipped"] = dispatch.send
"""
SHOWN = 30
"""Lines of a log that a failure shows."""
TABLE = "CREATE TABLE public.effects (kind text, number integer, code text)"
SINCE = {
    "the release before": releases.release_before,
    "the commit before": releases.before_this_code,
    "the newest migration": releases.before_the_last_migration,
}


def troubles(workers):
    """Return what workers have logged from their first error on, except of jobs that must fail."""
    found = []
    for worker in workers:
        lines = worker.text().splitlines(keepends=True)
        fine = itertools.takewhile(lambda line: not is_trouble(line), lines)
        found += lines[len(list(fine)) :][:SHOWN]
    return found


def is_trouble(line):
    is_error = '"level": "error"' in line and "fails on purpose" not in line
    return line.endswith("\n") and (is_error or "Traceback" in line)  # the last may not be whole


@pytest.fixture(params=SINCE.values(), ids=SINCE.keys())
def before(request, tmp_path):
    """The folder of the code that everything is rolled from."""
    commit, folder = request.param(), tmp_path / "before"
    releases.unpack(commit, folder)
    return folder


@pytest.fixture
def now(request, before, tmp_path):
    """The folder of the code that is here; with a made-up migration if `before` has all others.

    The two must differ, or the test would show nothing.
    """
    folder = NOW
    if "newest migration" in request.node.callspec.id and not releases.adds_a_migration(before):
        folder = tmp_path / "now"
        releases.with_a_migration(folder)
    assert not releases.is_same_code(before, folder)
    return folder


@pytest.fixture
def migrate(run, empty_database_url):
    """`migrate(folder)`: apply the migrations of the code there."""

    def migrate(folder):
        env = {"PYTHONPATH": str(folder), "WORKSHED_DATABASE_URL": empty_database_url}
        code, said = run("-m", "workshed", "migrate", **env)
        assert code == 0, said

    return migrate


@pytest.fixture
def database_url(empty_database_url, before, migrate):
    """A database that the earlier code has made."""
    migrate(before)
    return empty_database_url


@pytest.fixture
def numbers(numbers):
    """Without settings, because a release refuses those that it does not know yet."""
    return {name: value for name, value in numbers.items() if not name.startswith(PREFIX)}


def settings_of(folder):
    """Return the settings of the other tests that the code there knows."""
    text = (folder / "workshed" / "settings.py").read_text()
    return {PREFIX + "PROBES": "false"} if "    probes:" in text else {}


@pytest.fixture
def released(now, tmp_path):
    """`released(folder)`: a folder with a link to the code there, and with the actors."""

    def released(folder):
        release = tmp_path / f"with-{folder.name}"
        if not release.exists():
            release.mkdir()
            (release / "code").symlink_to(folder)
            (release / "released.py").write_text(ACTORS + (AFTER if folder == now else BEFORE))
        return release

    return released


@pytest.fixture
def path(environment, released):
    """`path(folder)`: the PYTHONPATH of programs that run the code there."""
    return lambda folder: path_in(released(folder), environment)


def path_in(release, environment):
    return os.pathsep.join([str(release / "code"), str(release), environment["PYTHONPATH"]])


@pytest.fixture
def start(start_worker, path, eventually):
    """`start(folder)`: workers of the code there, with their relay."""

    def start(folder):
        env = {"PYTHONPATH": path(folder), **settings_of(folder)}
        worker = start_worker("released", threads=4, env=env)
        eventually(lambda: any(words in worker.text() for words in RELAYS_READY))
        return worker

    return start


@pytest.fixture
def sending(start_sender, path):
    """`sending(folder, first=0)`: a program that sends with the code there."""
    return lambda folder, first: start_sender(path(folder), first)


class Fleet(Supervised):
    """`workshed worker` of the release that a link leads to, wherever that is."""

    def __init__(self, link, released, environment, log):
        self._link = link
        self._released = released
        super().__init__(["-p", "1", "-t", "4", "released"], environment, log)

    def roll(self, folder):
        """Point the link to the code there, and have all processes replaced."""
        self._link.unlink()
        self._link.symlink_to(self._released(folder))
        self.process.send_signal(signal.SIGHUP)


@pytest.fixture
def fleet(environment, numbers, broker, before, released, tmp_path, eventually):
    """`workshed worker` and its relay, of the earlier code, on a database that has its tables."""
    link = tmp_path / "current"
    link.symlink_to(released(before))
    # Bytecode that is kept by its path would be that of the other release.
    env = {**numbers, **settings_of(before), "PYTHONDONTWRITEBYTECODE": "1"}
    env |= {**environment, "PYTHONPATH": path_in(link, environment)}
    one = Fleet(link, released, env, tmp_path / "fleet.log")
    yield one
    one.end()


@pytest.fixture
def effects(connect):
    """`effects()`: kind, number and code of each, with repeats."""
    conn = connect(autocommit=True)
    conn.execute(TABLE)
    return lambda: conn.execute("SELECT kind, number, code FROM effects").fetchall()


@pytest.fixture
def left(count, rabbitmq):
    """`left()`: how many jobs are on their way, or dead."""

    def left():
        tables = ("schedule", "redelivered_starts", "unique_locks", "dead")
        rows = sum(count(f"workshed.{table}") for table in tables)
        return rows + sum(queue.get("messages", 0) for queue in rabbitmq.queues().values())

    return left


@pytest.fixture
def observed(effects, left):
    """What has happened, and what is still to happen."""
    return effects, left


@pytest.mark.exhaustive
@pytest.mark.timeout(600)
def test_all_is_rolled_to_this_code_under_load(
    before, now, migrate, start, fleet, sending, observed, eventually
):
    """Old workers go on after the migrations, and can also be started after them.

    Each code runs jobs that the other has sent. The supervisor of the old code starts the new one.
    """

    effects, left = observed

    def runs(code, by_now=False, of=None):
        """Return how many jobs of the old code, or `by_now` of this code, a code has run."""
        return sum(
            where == str(code) and (number >= SENT_BY_NOW) == by_now and of in (None, kind)
            for kind, number, where in effects()
        )

    def until(is_over):
        eventually(lambda: is_over() or troubles(old + new), within_s=120)
        assert "".join(troubles(old + new)) == ""

    old, new = [fleet, start(before)], []
    wait_until_up(fleet, eventually)
    senders = [sending(before, first=0)]
    until(lambda: runs(before))

    migrate(now)
    had_run = runs(before)
    until(lambda: runs(before) > had_run + 20)
    new.append(start(now))
    senders.append(sending(now, first=SENT_BY_NOW))
    until(lambda: runs(now, of="shipped") and runs(before, by_now=True))

    fleet.roll(now)
    until(lambda: len(ups(fleet)) == 2)
    old[1].kill()
    assert new[0].stop() == 0
    had_run = runs(now, by_now=True)
    until(lambda: runs(now, by_now=True) > had_run)
    had_run = runs(before)
    old.append(start(before))  # as in a rollback
    until(lambda: runs(before) > had_run)
    for sender in senders:
        sender.stop()
    sent = set.union(*(sender.sent() for sender in senders))
    until(lambda: {(kind, number) for kind, number, _ in effects()} >= sent)
    until(lambda: left() == 0)

    ran = [(kind, number) for kind, number, _ in effects()]
    once = [job for job in ran if job[0] != "plain"]
    assert set(ran) == sent
    assert len(once) == len(set(once))
    assert fleet.stop() == 0


def test_without_a_history_nothing_passes_for_an_upgrade(tmp_path, monkeypatch):
    """Otherwise a release would silently be replaced by itself in a shallow clone."""
    monkeypatch.delenv(releases.ARCHIVE, raising=False)

    with pytest.raises(AssertionError, match="git fetch --unshallow --tags"):
        releases.unpack(None, tmp_path / "before")


@pytest.fixture
def tagged(tmp_path, monkeypatch):
    """`tagged("0.2.0", …)`: a repository with a changelog of these releases, and their tags."""

    def git(*words):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)

    def tagged(*versions, without=()):
        sections = "".join(f"## [{one}] - 2027-01-01\n\n" for one in versions)
        (tmp_path / "CHANGELOG.md").write_text(f"## [Unreleased]\n\n{sections}", "utf-8")
        git("init", "--quiet")
        git("-c", "user.name=a", "-c", "user.email=b", "commit", "-q", "--allow-empty", "-m", "c")
        for one in {*versions} - {*without}:
            git("tag", f"v{one}")
        monkeypatch.setattr(releases, "ROOT", tmp_path)

    return tagged


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.10.1", "v0.10.0"),
        ("0.10.0", "v0.9.0"),
        ("0.10.0.dev0", "v0.9.0"),
        ("0.11.0.dev0", "v0.10.0"),
        ("0.2.0", releases.oldest()),
    ],
)
def test_the_release_before_is_the_newest_below_this_version(
    version, expected, tagged, monkeypatch
):
    tagged("0.10.0", "0.9.0", "0.2.0")
    monkeypatch.setattr(releases, "__version__", version)

    assert releases.release_before() == expected


def test_a_missing_tag_does_not_pass_for_a_release(tagged, monkeypatch):
    """Otherwise a clone without tags would silently test the upgrade from an old commit."""
    tagged("0.3.0", "0.2.0", without=["0.3.0"])
    monkeypatch.setattr(releases, "__version__", "0.4.0")

    assert releases.release_before() is None
