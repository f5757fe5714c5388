"""`workshed worker`: a process that dies is replaced, and the others are not affected."""

import json
import os
import re
import signal

import pytest
from dramatiq import Message

from tests.library.e2e.workers.supervised import ACTORS, ups, wait_until_up
from tests.processes import command_of, descendants, has_ended
from workshed.transport.errors import EXIT_USAGE

BARE = """
import dramatiq
from pathlib import Path

@dramatiq.actor(queue_name="default")
def greet(name):
    Path("greeted").write_text(name)
"""

# Actors


def test_a_bare_actor_is_on_our_broker(supervise, tmp_path, broker, eventually):
    """Otherwise it would be on a broker of dramatiq's, where the worker would wait forever."""
    (tmp_path / "bare.py").write_text(BARE.replace("greeted", str(tmp_path / "greeted")))
    supervise(modules=("bare",), processes=1)

    broker.enqueue(Message("default", "greet", ("Ada",), {}, {}))

    eventually((tmp_path / "greeted").exists)


# A process dies


@pytest.mark.sample(1)
@pytest.mark.parametrize("victim", ["worker process", "master"])
def test_only_the_one_that_was_killed_is_started_again(
    victim, supervise, send, done, notes, eventually
):
    """Stock dramatiq stops all three, as a test below shows."""
    workers = supervise()
    masters, processes = workers.masters(), workers.workers()
    for number in range(200):
        send("make", number)
    eventually(lambda: len(done()) > 20)

    os.kill(processes[1] if victim == "worker process" else masters[1], signal.SIGKILL)

    eventually(lambda: done() == set(range(200)))
    wait_until_up(workers, eventually, times=2)
    assert workers.process.poll() is None
    now, those = workers.masters(), workers.workers()
    assert (masters[0] in now, masters[1] in now, masters[2] in now) == (True, False, True)
    assert (processes[0] in those, processes[2] in those) == (True, True)
    assert len(now) == len(those) == 3
    assert [line for line in workers.said() if f"worker 2 (pid {masters[1]}) " in line] == [
        f"worker 2 (pid {masters[1]}) was killed by SIGKILL; restarting it in 0.5 s"
        if victim == "master"
        else f"worker 2 (pid {masters[1]}) ended, because its worker process was killed or froze, "
        "or raised while it started (1); restarting it in 0.5 s"
    ]
    assert len(notes("end")) <= 200 + 32  # at most the jobs of the killed one run again


def test_the_exit_code_of_a_worker_process_is_described_in_words(supervise, send, done, eventually):
    workers = supervise(processes=2)

    send("leave", 70)

    eventually(lambda: done() == {70})
    words = (
        "exited because one of its threads died, or its I/O loop hung (70); restarting it in 0.5 s"
    )
    eventually(lambda: any(line.endswith(words) for line in workers.said()))


def test_a_job_that_does_not_end_is_retried_and_dies_and_its_neighbours_complete(
    supervise, send, notes, done, conn, rabbitmq, eventually
):
    """Without the hard limit it keeps its thread forever; two such jobs would block the worker.

    Without the grace, its neighbour would be cut off and run a second time.
    """
    conn.autocommit = True
    workers = supervise(processes=1)
    send("make", 1, 3.0)
    eventually(lambda: notes("start"))

    send("hang", 2)
    eventually(lambda: len(notes("start")) == 2)
    for number in range(3, 20):
        send("make", number)

    buried = "SELECT reason FROM workshed.dead"
    [(reason,)] = eventually(lambda: conn.execute(buried).fetchall())
    assert reason == "failed 2 times: HardTimeLimitExceeded: exceeded its hard limit of 1.7 s"
    eventually(lambda: done() == {1, *range(3, 20)})
    assert [number for number, _, _ in notes("end")].count(1) == 1
    query = "SELECT actor, attempt, outcome, traceback FROM workshed.attempts ORDER BY id"
    tried = conn.execute(query).fetchall()
    assert [row[:3] for row in tried] == [("hang", 1, "retry"), ("hang", 2, "dead")]
    assert all("time.sleep(600)" in row[3] for row in tried)
    words = "exited because a job ran past its hard time limit (71); restarting it in "
    eventually(lambda: sum(words in line for line in workers.said()) == 2)
    wait_until_up(workers, eventually, times=3)
    eventually(
        lambda: conn.execute("SELECT count(*) FROM workshed.redelivered_starts").fetchone() == (0,)
    )
    eventually(lambda: rabbitmq.unacked("parts") == rabbitmq.depth("parts") == 0)


def test_a_neighbour_that_outlives_the_grace_is_not_charged(
    supervise, send, notes, conn, eventually
):
    conn.autocommit = True
    supervise(processes=1, env={"WORKSHED_SHUTDOWN_GRACE": "0.2"})
    send("make", 1, 4.0)
    eventually(lambda: notes("start"))

    send("hang", 2)

    eventually(lambda: conn.execute("SELECT 1 FROM workshed.dead").fetchall())
    eventually(lambda: [number for number, _, _ in notes("end")] == [1])
    tried = conn.execute("SELECT actor FROM workshed.attempts").fetchall()
    assert tried == [("hang",), ("hang",)]


def test_stock_dramatiq_stops_all_when_one_worker_is_killed(start_worker):
    """This is why there is a supervisor."""
    master = start_worker("parts", processes=3, threads=2)
    processes = master.children()[:3]

    os.kill(processes[1], signal.SIGKILL)

    assert master.process.wait(60) == 1
    assert all(map(has_ended, processes))


def test_plain_dramatiq_with_a_wrong_setting_ends_with_2_and_a_sentence(run_apart, environment):
    """Any other error during the import of actors is a traceback and exit code 1."""
    words = ("-m", "dramatiq", "parts", "--processes", "1")
    done = run_apart(*words, **{**environment, "WORKSHED_BROKRE_URL": "amqp://"})

    assert done.returncode == EXIT_USAGE, done.stderr
    assert "WORKSHED_BROKRE_URL is not a setting; did you mean WORKSHED_BROKER_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_worker_of_a_killed_master_ends_when_its_jobs_have(
    supervise, send, notes, rabbitmq, eventually
):
    """Without `ParentWatch` it would consume forever, alongside its replacement."""
    workers = supervise(processes=1)
    master, process = workers.masters()[0], workers.workers()[0]
    send("make", 1, 2.0)
    eventually(lambda: notes("start"))

    os.kill(master, signal.SIGKILL)

    eventually(lambda: has_ended(process))
    assert notes("end") == [(1, 1, process)]
    wait_until_up(workers, eventually, times=2)


@pytest.mark.exhaustive
def test_a_worker_whose_master_died_while_it_booted_ends(
    start_worker, tmp_path, eventually, environment
):
    """The kernel notifies only a process that has asked for it before."""
    slow = "import os, time\nopen('booting', 'w').close()\n"
    slow += "while not os.path.exists('go'): time.sleep(0.01)\n"
    (tmp_path / "slow.py").write_text(slow + ACTORS)
    master = start_worker("slow", ready=False)
    eventually((tmp_path / "booting").exists)
    process = master.children()[0]

    master.process.kill()
    master.process.wait(60)
    (tmp_path / "go").touch()

    eventually(lambda: has_ended(process))


def test_there_is_one_relay_and_it_comes_back(supervise, conn, eventually):
    """Without `WORKSHED_RELAY_FORK=false` there would be three."""
    conn.autocommit = True
    query = "SELECT pid FROM workshed.relays WHERE beat_at > workshed.now() - interval '5 s'"
    workers = supervise(processes=2)
    masters = workers.masters()
    (relay,) = workers.relays()
    eventually(lambda: conn.execute(query).fetchall() == [(relay,)])
    assert not [
        pid
        for pid in descendants(workers.process.pid)
        if pid != relay and "-m workshed.transport.relay.relay" in command_of(pid)
    ]

    os.kill(relay, signal.SIGKILL)
    wait_until_up(workers, eventually, times=2)

    (other,) = workers.relays()
    assert other != relay
    assert workers.masters() == masters


def test_without_a_relay_there_is_none(supervise, count):
    workers = supervise("--no-relay", processes=1)

    assert workers.relays() == []
    assert count("workshed.relays") == 0
    assert ups(workers) == ["1 worker is up"]


# It cannot start


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("options", "env", "code", "words"),
    [
        (("-Q", "emial"), {}, 2, "queue 'emial' is not declared (did you mean 'emails'?)"),
        ((), {"WORKSHED_DATABSE_URL": "x"}, 2, "did you mean WORKSHED_DATABASE_URL?"),
        ((), {"WORKSHED_QUEUES": "critcal=3"}, 2, "'critcal=3' is not NAME=WEIGHT"),
        (("nosuch",), {}, 2, "No module named 'nosuch'"),
        (("undeclared",), {}, 1, 'broker.add_queue(Queue("invoices"))'),
        ((), {"WORKSHED_DATABASE_URL": "EMPTY"}, 2, "run `workshed migrate`"),
    ],
)
def test_an_error_that_would_recur_is_logged_once_and_ends_all(
    options, env, code, words, supervise, empty_database_url, tmp_path
):
    """Otherwise three workers would log it every ten seconds, and the service would look alive."""
    (tmp_path / "undeclared.py").write_text(
        "import dramatiq\n"
        "from workshed import broker\n"
        "dramatiq.actor(broker=broker, queue_name='invoices', actor_name='a')(print)\n"
    )
    env = {name: value.replace("EMPTY", empty_database_url) for name, value in env.items()}

    workers = supervise(*options, env=env, up=False)

    assert workers.process.wait(60) == code
    assert workers.text().count(words) == 1, workers.text()
    assert descendants(workers.process.pid) == []


def test_servers_that_are_away_at_boot_are_waited_for(supervise, wires, through, eventually):
    rabbitmq, postgres = wires
    rabbitmq.refuse()
    postgres.refuse()
    workers = supervise(processes=2, env=through, up=False)
    no_broker = "could not reach RabbitMQ (3); restarting it in "
    eventually(lambda: no_broker in "\n".join(workers.said()))
    rabbitmq.accept()
    no_database = "could not reach PostgreSQL (4); restarting it in "
    eventually(lambda: no_database in "\n".join(workers.said()))
    postgres.accept()

    wait_until_up(workers, eventually)
    assert not any("worker 2" in line for line in workers.said())  # it waited for the first
    assert ups(workers) == ["2 workers and a relay are up"]


def test_it_says_so_when_all_have_booted_and_not_before(supervise, tmp_path, eventually):
    slow = "import os, time\nfrom workshed.parent import parent_pid\n"
    slow += "while not os.path.exists(f'go-{parent_pid()}'): time.sleep(0.01)\n"
    (tmp_path / "slow.py").write_text(slow + ACTORS)
    workers = supervise(modules=("slow",), processes=2, up=False)
    (first,) = eventually(workers.masters)
    assert workers.relays() == []

    (tmp_path / f"go-{first}").touch()
    _, second = eventually(lambda: len(found := workers.masters()) == 2 and found)
    eventually(workers.relays)
    assert workers.said() == []
    (tmp_path / f"go-{second}").touch()

    eventually(lambda: workers.said() == ["2 workers and a relay are up"])


# It stops


def test_sigterm_finishes_running_jobs_requeues_the_rest_and_ends_the_relay_last(
    supervise, send, notes, rabbitmq, count, eventually
):
    """A second signal, even to the process group, changes nothing; dramatiq would cut off jobs."""
    workers = supervise(processes=2, exporter=True)
    for number in range(60):
        send("make", number, 1.0)
    eventually(lambda: len(notes("start")) >= 4)
    below = descendants(workers.process.pid)

    workers.process.terminate()
    eventually(lambda: "Shutting down" in workers.text())
    os.killpg(workers.process.pid, signal.SIGINT)
    workers.process.send_signal(signal.SIGHUP)

    assert workers.process.wait(90) == 0
    assert workers.said() == ["2 workers and a relay are up"]
    assert sorted(n for n, _, _ in notes("start")) == sorted(n for n, _, _ in notes("end"))
    eventually(lambda: rabbitmq.depth("parts") == 60 - len(notes("end")))
    eventually(lambda: all(map(has_ended, below)))  # also the tracker of a master's locks
    assert count("workshed.relays") == 0
    lines = workers.text().splitlines()
    last = max(n for n, line in enumerate(lines) if "Worker has been shut down" in line)
    assert "relay has ended" in "\n".join(lines[last:])


def test_sigterm_while_it_boots_ends_well(supervise, tmp_path, eventually):
    slow = "import os, time\nopen('booting', 'w').close()\n"
    slow += "while not os.path.exists('go'): time.sleep(0.01)\n"
    (tmp_path / "slow.py").write_text(slow + ACTORS)
    workers = supervise(modules=("slow",), up=False)
    eventually((tmp_path / "booting").exists)

    workers.process.terminate()
    (tmp_path / "go").touch()

    assert workers.process.wait(90) == 0
    assert not any("worker 2" in line for line in workers.said())


def test_a_worker_that_does_not_stop_is_killed_and_that_is_logged(supervise, eventually):
    """Otherwise its container or service would be killed as a whole, with nothing in the log."""
    workers = supervise(processes=2, env={"WORKSHED_SHUTDOWN_GRACE": "0"})
    stuck = workers.workers()[0]
    below = descendants(workers.process.pid)
    os.kill(stuck, signal.SIGSTOP)

    assert workers.stop() == 72
    eventually(lambda: all(map(has_ended, below)))
    said = "\n".join(workers.said())
    assert "did not stop in time and is killed" in said
    assert said.count("was killed by SIGKILL") == 1


def test_nothing_is_left_of_a_killed_supervisor(supervise, send, notes, eventually):
    """Without `PR_SET_PDEATHSIG` all its processes would go on, alongside their replacements."""
    workers = supervise(processes=2, exporter=True)
    for number in range(60):
        send("make", number, 1.0)
    eventually(lambda: len(notes("start")) >= 4)
    below = descendants(workers.process.pid)
    assert len(workers.masters()) == len(workers.workers()) == 2
    assert {*workers.masters(), *workers.workers(), *workers.relays()} < set(below)

    workers.process.kill()

    eventually(lambda: all(map(has_ended, below)))
    assert sorted(n for n, _, _ in notes("start")) == sorted(n for n, _, _ in notes("end"))


# Its log


def test_lines_of_all_children_are_whole(supervise, send, done, eventually):
    """A line in the middle of another is neither readable nor JSON."""
    workers = supervise()
    for number in range(300):
        send("talk", number)
    eventually(lambda: len(done()) == 300)
    assert workers.stop() == 0

    lines = workers.text().splitlines()
    stock = re.compile(r"\[\d{4}-\d\d-\d\d [\d:,]+\] \[PID \d+\] \[MainThread\] \[dramatiq\.")
    broken = [line for line in lines if not stock.match(line) and not is_json(line)]
    assert broken == []
    assert sum('"event": "' + "x" * 3000 + '"' in line for line in lines) == 300


def is_json(line):
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
