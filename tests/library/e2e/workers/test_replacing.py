"""`workshed worker` replaces its workers: each goes on until its successor is at work."""

import os
import signal

import pytest

from tests.library.e2e.workers.supervised import ACTORS, Consumers, wait_until_up

MEMORY = """
kept = []

@dramatiq.actor(broker=broker, queue_name="parts", time_limit=60_000)
def keep(number, size):
    kept.append(bytearray(b"x" * size))
    note("end", number)

@dramatiq.actor(broker=broker, queue_name="parts", time_limit=60_000)
def borrow(number, size):
    borrowed = bytearray(b"x" * size)
    time.sleep(3)
    del borrowed
    note("end", number)
"""


def restarted(workers):
    """The names of the children that were replaced, in order."""
    return [
        line.removeprefix("restarting ").split(" (")[0]
        for line in workers.said()
        if line.startswith("restarting ") and "(pid" in line
    ]


# New code


def test_sighup_replaces_one_after_the_other_and_loses_nothing(
    supervise, send, ended, notes, vhost, tmp_path, eventually
):
    """If a worker were stopped first, it would be missing for as long as its successor boots."""
    workers = supervise(exporter=True)
    before = workers.workers()
    (relay,) = workers.relays()
    for number in range(400):
        send("make", number)
    eventually(lambda: len(ended()) > 20)
    (tmp_path / "parts.py").write_text(ACTORS.replace("VERSION = 1", "VERSION = 2"))

    with Consumers(vhost, "parts") as consumers:
        workers.process.send_signal(signal.SIGHUP)
        wait_until_up(workers, eventually, times=2)

    assert (consumers.fewest, consumers.most) == (3, 4)
    assert not set(before) & set(workers.workers())
    assert workers.relays() != [relay]
    eventually(lambda: ended() == set(range(400)))
    assert len(notes("end")) == 400
    send("make", 400)
    eventually(lambda: 400 in ended())
    assert notes("end")[-1][1] == 2
    assert restarted(workers) == ["worker 1", "worker 2", "worker 3", "relay"]


@pytest.mark.sample(1)
@pytest.mark.parametrize("moment", ["restarting worker 1", "stops"])
def test_sigterm_during_a_rolling_restart_cuts_no_job(moment, supervise, send, notes, eventually):
    """A worker that is stopping must get no second signal, on which dramatiq would cut its jobs."""
    workers = supervise(processes=2)
    for number in range(60):
        send("make", number, 2.0)
    eventually(lambda: len(notes("start")) >= 4)

    workers.process.send_signal(signal.SIGHUP)
    eventually(lambda: any(moment in line for line in workers.said()))

    assert workers.stop() == 0
    assert sorted(n for n, _, _ in notes("start")) == sorted(n for n, _, _ in notes("end"))


def test_new_code_that_does_not_come_up_replaces_nothing(
    supervise, send, ended, vhost, tmp_path, eventually
):
    workers = supervise(processes=2)
    before = workers.workers()
    (tmp_path / "parts.py").write_text("1 / 0")

    with Consumers(vhost, "parts") as consumers:
        workers.process.send_signal(signal.SIGHUP)
        words = f"worker 1 (pid {before[0]}) keeps running, and no other process is replaced"
        eventually(lambda: any(line.endswith(words) for line in workers.said()))
        send("make", 1)
        eventually(lambda: ended() == {1})

    assert consumers.fewest == 2
    assert workers.workers() == before
    (tmp_path / "parts.py").write_text(ACTORS)
    workers.process.send_signal(signal.SIGHUP)
    wait_until_up(workers, eventually, times=2)
    assert not set(before) & set(workers.workers())


def test_a_worker_that_is_killed_while_its_successor_boots_is_followed_by_it(
    supervise, tmp_path, eventually
):
    workers = supervise(processes=1)
    (old,) = workers.workers()
    slow = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\n"
    (tmp_path / "parts.py").write_text(slow + ACTORS)
    workers.process.send_signal(signal.SIGHUP)
    _, new = eventually(lambda: len(found := workers.workers()) == 2 and found)

    os.kill(old, signal.SIGKILL)
    eventually(lambda: workers.workers() == [new])
    (tmp_path / "go").touch()

    wait_until_up(workers, eventually, times=2)
    assert workers.workers() == [new]


# Limits of a worker


def test_a_worker_that_has_run_its_jobs_is_replaced_and_loses_none(
    supervise, send, ended, notes, vhost, count, eventually
):
    """If it were stopped first, one worker would be missing each time."""
    workers = supervise("--max-jobs", "40", processes=2)

    sent = 0

    def three_were_replaced():
        nonlocal sent
        if sent < len(ended()) + 100:  # a batch at a time, however fast they are done
            for _ in range(50):
                send("make", sent)
                sent += 1
        return len(restarted(workers)) >= 3

    with Consumers(vhost, "parts") as consumers:
        eventually(three_were_replaced, within_s=180)
        eventually(lambda: ended() == set(range(sent)), within_s=120)

    assert consumers.fewest == 2
    assert consumers.most == 3
    assert len(notes("end")) == sent
    assert len({pid for _, _, pid in notes("end")}) > 3
    assert count("workshed.attempts") == 0
    first = next(line for line in workers.said() if " has run " in line)
    assert int(first.split(" has run ")[1].split()[0]) >= 40


def test_a_worker_that_keeps_memory_is_replaced_and_one_that_gives_it_back_is_not(
    supervise, send, ended, tmp_path, eventually
):
    """If memory were measured while a job runs, each large job would cost a worker."""
    (tmp_path / "parts.py").write_text(ACTORS + MEMORY)
    workers = supervise("--max-memory", "400M", processes=1)
    before = workers.workers()

    send("borrow", 1, 500 << 20)
    eventually(lambda: ended() == {1})
    send("make", 2, 3.0)  # time for three more checks
    eventually(lambda: ended() == {1, 2})
    assert restarted(workers) == []

    send("keep", 3, 500 << 20)

    wait_until_up(workers, eventually, times=2)
    assert not set(before) & set(workers.workers())
    assert any("MiB of memory" in line for line in workers.said())


def test_a_limit_below_what_a_worker_takes_from_its_start_replaces_none(
    supervise, send, ended, eventually
):
    """Otherwise it would be replaced over and over, as fast as one boots."""
    workers = supervise("--max-memory", "1M", processes=1)

    send("make", 1)
    eventually(lambda: ended() == {1})

    words = "--max-memory 1 MiB is less than the "
    eventually(lambda: any(line.startswith(words) for line in workers.said()))
    send("make", 2, 3.0)
    eventually(lambda: ended() == {1, 2})
    assert restarted(workers) == []
