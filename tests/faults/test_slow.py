"""Long jobs, while connections are lost and workers are replaced."""

import contextlib
import functools
import itertools
import time
from pathlib import Path

import pytest

from tests.faults.every import Every
from tests.faults.experiment import KEY, Remedy, experiment
from tests.programs import READY, RELAY_READY
from tests.service.e2e.conftest import workshed

__all__ = ["workshed"]

ACTORS = (Path(__file__).parent / "slow.py").read_text()
PLAIN, ONCE, MAILED = KINDS = (0, 1, 3)
"""The kinds of the load that have slow jobs."""

ACCUSED = "workshed.dead WHERE reason LIKE 'killed its worker%'"
DUPLICATE = "duplicate: "
"""What a worker logs about a job that another one has done."""
THREADS = 16
"""Threads of a worker; twice as many at full scale."""


class Slow:
    """The load with long jobs, and two worker masters that run it."""

    def __init__(self, ledger, start_worker, threads, notes, eventually):
        self.ledger = ledger
        self.threads = threads
        self.replaced = 0
        self._start = start_worker
        self._notes = notes
        self._eventually = eventually
        self._numbers = {kind: itertools.count(kind, 4) for kind in KINDS}
        self._turn = itertools.cycle(range(2))
        self._starts = []
        self.workers = []

    def start(self, linger, *environments, threads=(1, 1)):
        """Start both masters, each with an environment and a share of the usual number of threads.

        `linger` is the shortest and longest time of a job in seconds.
        """
        # One connection for each job, because it runs in a transaction.
        usual = {"LINGER": linger, "BEGUN": str(self._notes), "WORKSHED_POOL_SIZE": "40"}
        self._starts = [
            functools.partial(
                self._start, env={**usual, **environment}, threads=int(share * self.threads)
            )
            for environment, share in zip(environments, threads, strict=True)
        ]
        self.workers = [start() for start in self._starts]

    def send(self, count, kinds=KINDS):
        """Send jobs of these kinds in turn, every tenth in a transaction."""
        for turn, kind in zip(range(count), itertools.cycle(kinds), strict=False):
            number = next(self._numbers[kind])
            (self.ledger.commit if turn % 10 == 9 else self.ledger.send)(number)

    def replace(self, end):
        """End one of the masters in turn, by `end`, and start another."""
        number = next(self._turn)
        with contextlib.suppress(ProcessLookupError):  # it may have ended
            end(self.workers[number])
        self.workers[number] = self._starts[number](ready=False)
        self.replaced += 1

    def wait_up(self):
        """Wait until both are up with their relays, so that jobs run even if boots are slow."""

        def is_up(worker):
            # It may also have ended, if its connection was cut while it booted.
            return worker.process.poll() is not None or all(
                words in worker.text() for words in (READY, RELAY_READY)
            )

        with contextlib.suppress(AssertionError):
            self._eventually(lambda: all(map(is_up, self.workers)), within_s=60)

    def begun(self):
        """Return how many jobs were started, including copies."""
        return len(self._notes.read_text().splitlines())


@pytest.fixture
def slow(ledger, start_worker, tmp_path, full, eventually):
    """The load with long jobs; no worker runs yet."""
    (tmp_path / "slow.py").write_text(ACTORS)
    (tmp_path / "begun.txt").touch()
    start = functools.partial(start_worker, "slow")
    threads = 2 * THREADS if full else THREADS
    return Slow(ledger, start, threads, tmp_path / "begun.txt", eventually)


@pytest.fixture
def acquitted(drained, count, workshed):
    """`acquitted(within_s)`: wait until no job is left, retry the accused ones, and count.

    A job is dead as a killer if its process is killed twice while the job runs isolated. With this
    many kills, some jobs are accused by chance, and an operator retries them.
    """

    def acquitted(within_s):
        result = drained(within_s)
        if accused := count(ACCUSED):
            workshed("dead", "retry", "--all", "--yes")
            result = drained(within_s)
        result.notes = {"taken for poison jobs": accused}
        return result

    return acquitted


@pytest.mark.timeout(2700)
@experiment(
    "stale-acks",
    number=2,
    fails_by="lost",
    fault="all connections of workers to RabbitMQ are cut every 3 s; `kill -9` of a worker "
    "master every 15 s; `dead retry` of jobs that were taken for poison jobs",
    load="2 000 jobs of 1 to 10 s, sent directly and in transactions",
    remedy=Remedy(
        "workshed/transport/consuming/settling_consumer.py",
        "            self._inbox.settle_delivery(",
        "            message.channel = self._acking_channel\n"
        "            self._inbox.settle_delivery(",
    ),
)
def test_an_ack_of_a_lost_channel_loses_no_other_job(
    slow, proxy, vhost, acquitted, judged, quiet, scale, full
):
    """Without the remedy it acks a running job, which is lost when its worker is killed."""
    between = proxy(vhost)
    linger, cut_s, kill_s = ("1 10", 3, 15) if full else ("0.2 2", 1, 4)
    environment = {"WORKSHED_BROKER_URL": between.url(vhost)}
    slow.start(linger, environment, environment)

    def kill():
        slow.wait_up()
        slow.replace(lambda worker: worker.kill())

    with Every(cut_s, between.cut) as cuts, Every(kill_s, kill):
        slow.send(scale(2_000, by=4))
        quiet(
            slow.ledger.has_all_effects, slow.ledger.moved, within_s=450 if full else 40, still_s=15
        )
    # Jobs of killed workers run isolated, which takes a while with many long jobs.
    result = acquitted(within_s=900 if full else 120)
    result.notes |= {"kills": slow.replaced, "cuts": cuts.times}
    judged(result)
    assert slow.replaced > 0
    assert cuts.times > 0
    assert between.accepted > cuts.times


@pytest.mark.timeout(1200)
@experiment(
    "half-open",
    number=3,
    fails_by="duplicated",
    fault="RabbitMQ closes the connections of a worker master, which does not notice for 3 min "
    "and keeps working",
    load="1 000 jobs of 1 to 10 s, sent directly and in transactions",
    remedy=KEY,
)
def test_jobs_of_a_deaf_worker_have_no_second_effect(
    slow, proxy, vhost, judged, quiet, drained, scale, full
):
    """Another worker gets its jobs; the second one to finish a job writes nothing and logs it."""
    between = proxy(vhost)
    # The worker gives up the connection after one and a half heartbeats.
    linger, heartbeat_s = ("1 10", 120) if full else ("0.2 2", 6)
    url = f"{between.url(vhost)}?heartbeat={heartbeat_s}"
    # Few threads, so that many of the jobs it holds are done elsewhere first.
    slow.start(linger, {"WORKSHED_BROKER_URL": url}, {}, threads=(1 / 4, 1))
    half = scale(1_000) // 2
    slow.wait_up()
    slow.send(half, [ONCE])
    quiet(lambda: slow.begun() >= THREADS, slow.begun, within_s=30)
    accepted, began = between.accepted, time.monotonic()
    between.half_open()
    quiet(lambda: between.accepted > accepted, time.monotonic, within_s=2 * heartbeat_s + 30)
    deaf_s = time.monotonic() - began
    slow.send(half)
    result = drained(within_s=180)
    refused, fenced = (worker.text().count(DUPLICATE) for worker in slow.workers)
    result.notes = {
        "seconds without notice": round(deaf_s, 1),
        "outcomes refused to the deaf worker": refused,
        "outcomes refused to the other": fenced,
    }
    judged(result)
    assert between.accepted > accepted
    assert refused + fenced > 0


@pytest.mark.timeout(1200)
@experiment(
    "rolling-deploy",
    number=7,
    fails_by="lost",
    needs_rabbitmq=False,
    fault="SIGTERM to one worker master after the other, every 10 s for 5 min, with 5 s of "
    "shutdown grace",
    load="5 000 jobs of 0.1 to 20 s, without retries",
    remedy=Remedy(
        "workshed/middleware/retrying/policy.py",
        "        case Shutdown():\n            return INTERRUPTED\n",
        "",
    ),
)
def test_a_deploy_loses_no_job(slow, judged, quiet, drained, scale, full):
    """Without the remedy, a job that the deploy interrupts has failed and is dead."""
    linger, every_s, grace = ("0.1 20", 10, "5") if full else ("0.05 3", 2, "0.5")
    slow.start(linger, *[{"WORKSHED_SHUTDOWN_GRACE": grace}] * 2)
    times = scale(30, by=6)
    for _ in range(times):
        slow.wait_up()
        before = slow.begun()
        slow.send(scale(5_000) // times)
        quiet(lambda: slow.begun() >= before + THREADS, slow.begun, within_s=20)  # noqa: B023
        slow.replace(lambda worker: worker.process.terminate())
        time.sleep(every_s)
    ledger = slow.ledger
    result = drained(within_s=180)
    begun, ended = slow.begun(), sum(ledger.effects().values())
    result.notes = {
        "deploys": times,
        "runs started": begun,
        "share of runs interrupted": round(1 - ended / begun, 3),
    }
    judged(result)
    assert begun > ended
