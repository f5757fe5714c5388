"""SIGTSTP keeps `workshed worker` from starting jobs, and SIGCONT lets it go on."""

import os
import signal

from tests.library.e2e.workers.supervised import ask, ups, wait_until_up


def given_back(rabbitmq, notes, sent):
    """Return whether RabbitMQ has all jobs that have not started, and all others have ended."""
    ended = len(notes("end"))
    return (
        ended == len(notes("start"))
        and rabbitmq.unacked("parts") == 0
        and rabbitmq.depth("parts") == sent - ended
    )


def test_sigtstp_lets_running_jobs_end_and_requeues_the_rest_without_postgresql(
    supervise, send, ended, notes, servers, rabbitmq, eventually
):
    workers = supervise(processes=2)
    for number in range(40):
        send("make", number, 1.0)
    eventually(lambda: len(notes("start")) >= 4)
    servers.postgres.stop()
    try:
        workers.process.send_signal(signal.SIGTSTP)

        eventually(lambda: given_back(rabbitmq, notes, 40))
        send("make", 40)
        eventually(lambda: given_back(rabbitmq, notes, 41))
    finally:
        servers.postgres.start()

    workers.process.send_signal(signal.SIGCONT)

    eventually(lambda: ended() == set(range(41)))
    assert len(notes("end")) == 41
    assert [line for line in workers.said() if "quiet" in line] == [
        "quiet: the workers start no more jobs until SIGCONT",
        "no longer quiet: the workers start jobs again",
    ]


def test_a_worker_that_is_started_meanwhile_is_quiet_too(
    supervise, send, ended, notes, rabbitmq, eventually
):
    """Otherwise a deploy between the two signals would make it start jobs."""
    workers = supervise(processes=1, exporter=True)
    workers.process.send_signal(signal.SIGTSTP)
    eventually(lambda: "quiet" in (ask(workers, "/readyz") or (0, ""))[1])
    send("make", 1)

    os.kill(workers.workers()[0], signal.SIGKILL)
    wait_until_up(workers, eventually, times=2)
    workers.process.send_signal(signal.SIGHUP)
    wait_until_up(workers, eventually, times=3)
    (worker,) = workers.workers()

    eventually(lambda: ask(workers, "/readyz") == (503, f"worker {worker}: quiet\n"))
    assert ask(workers, "/livez") == (200, "ok\n")
    eventually(lambda: rabbitmq.depth("parts") == 1)
    assert notes("start") == []
    workers.process.send_signal(signal.SIGCONT)
    eventually(lambda: ended() == {1})


def test_a_quiet_worker_stops_as_any_other(supervise, eventually):
    workers = supervise(processes=1)
    workers.process.send_signal(signal.SIGTSTP)
    eventually(lambda: any("quiet" in line for line in workers.said()))

    assert workers.stop() == 0
    assert len(ups(workers)) == 1
