"""`workshed worker`: a process that dies is replaced, and the others are not affected."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from dramatiq import Message

from tests.library.e2e.workers.supervised import ACTORS, ups, wait_until_up
from tests.processes import command_of, descendants, has_ended
from workshed.errors import EXIT_USAGE

BARE = """
import dramatiq
from pathlib import Path

@dramatiq.actor(queue_name="default")
def greet(name):
    Path("greeted").write_text(name)
"""
ZOO = """
from pydantic_settings import BaseSettings, SettingsConfigDict
from workshed.settings import settings_of

class ZooSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="ZOO_")
    birds: int = 1

BIRDS = settings_of(ZooSettings).birds  # before anything builds the broker
"""

# Actors


def test_a_bare_actor_is_on_our_broker(supervise, tmp_path, broker, eventually):
    """Otherwise it would be on a broker of dramatiq's, where the worker would wait forever."""
    (tmp_path / "bare.py").write_text(BARE.replace("greeted", str(tmp_path / "greeted")))
    supervise(modules=("bare",), processes=1)

    broker.enqueue(Message("default", "greet", ("Ada",), {}, {}))

    eventually((tmp_path / "greeted").exists)


NAMED = """
from types import SimpleNamespace
from workshed import broker as made

app = SimpleNamespace(broker=made)

def find_broker():
    return made
"""


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", ["named:made", "named:app.broker", "named:find_broker"])
def test_the_first_module_may_name_the_broker(name, supervise, tmp_path, broker, eventually):
    """`dramatiq` takes these forms, too."""
    (tmp_path / "named.py").write_text(NAMED)
    (tmp_path / "bare.py").write_text(BARE.replace("greeted", str(tmp_path / "greeted")))
    supervise(modules=(name, "bare"), processes=1)

    broker.enqueue(Message("default", "greet", ("Ada",), {}, {}))

    eventually((tmp_path / "greeted").exists)


PROCESSES = """

@dramatiq.actor(broker=broker, queue_name="parts")
def fork(number):
    import multiprocessing
    with multiprocessing.get_context("fork").Pool(2) as pool:
        note("end", pool.apply(int, [str(number)]))
"""


def test_processes_that_a_job_forks_and_ends_are_no_signal_to_its_worker(
    supervise, send, ended, tmp_path, eventually
):
    """`Pool` ends its processes by SIGTERM. They have the handlers and the files of the worker, so
    each would shut it down, and store that its jobs were interrupted."""
    (tmp_path / "parts.py").write_text(ACTORS + PROCESSES)
    workers = supervise(processes=1)
    before = workers.workers()
    send("make", 1, 3.0)

    for number in range(2, 5):
        send("fork", number)

    eventually(lambda: ended() == {1, 2, 3, 4})
    assert workers.workers() == before
    assert "this worker stops" not in workers.text()


ENDED_AT_ONCE = """

os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))

@dramatiq.actor(broker=broker, queue_name="parts")
def fork(number):
    if not (child := os.fork()):
        time.sleep(1)  # longer than its end takes
        os._exit(0)
    note("end", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_process_that_is_ended_before_its_handlers_are_reset_is_no_signal_either(
    supervise, send, ended, tmp_path, eventually
):
    """It has those of the worker until then; `Pool` ends processes that have just begun."""
    (tmp_path / "parts.py").write_text(ACTORS + ENDED_AT_ONCE)
    workers = supervise(processes=1)

    send("fork", 1)

    eventually(lambda: ended() == {-signal.SIGTERM})
    assert "this worker stops" not in workers.text()


def test_what_an_actor_prints_is_in_the_log_at_once(supervise, send, tmp_path, eventually):
    """Otherwise it comes when the worker ends, or never."""
    said = (
        "\n\n@dramatiq.actor(broker=broker, queue_name='parts')\ndef say(word):\n    print(word)\n"
    )
    (tmp_path / "parts.py").write_text(ACTORS + said)
    workers = supervise(processes=1, env={"PYTHONUNBUFFERED": ""})

    send("say", "hello")

    eventually(lambda: "hello\n" in workers.text())


def test_middleware_that_wants_processes_of_its_own_is_named(supervise, tmp_path, eventually):
    """Only a `dramatiq` master starts them."""
    wanting = "\n\nclass Sampler(dramatiq.Middleware):\n    forks = [print]\n"
    wanting += "broker.add_middleware(Sampler())\n"
    (tmp_path / "parts.py").write_text(ACTORS + wanting)

    workers = supervise(processes=1)

    assert "Sampler needs processes of its own" in workers.text()
    assert "SidecarFork wants" not in workers.text()


# A process dies


@pytest.mark.sample(1)
def test_only_the_one_that_was_killed_is_started_again(supervise, send, ended, notes, eventually):
    """Stock dramatiq stops all three, as a test below shows."""
    workers = supervise()
    before = workers.workers()
    for number in range(200):
        send("make", number)
    eventually(lambda: len(ended()) > 20)

    os.kill(before[1], signal.SIGKILL)

    eventually(lambda: ended() == set(range(200)))
    wait_until_up(workers, eventually, times=2)
    assert workers.process.poll() is None
    now = workers.workers()
    assert [pid in now for pid in before] == [True, False, True]
    assert len(now) == 3
    assert [line for line in workers.said() if f"worker 2 (pid {before[1]}) " in line] == [
        f"worker 2 (pid {before[1]}) was killed by SIGKILL; restarting it in 500ms"
    ]
    assert len(notes("end")) <= 200 + 32  # at most the jobs of the killed one run again


def test_the_exit_code_of_a_worker_process_is_described_in_words(
    supervise, send, ended, eventually
):
    workers = supervise(processes=2)

    send("leave", 70)

    eventually(lambda: ended() == {70})
    words = (
        "exited because one of its threads died, or its I/O loop hung (70); restarting it in 500ms"
    )
    eventually(lambda: any(line.endswith(words) for line in workers.said()))


def test_a_job_that_does_not_end_is_retried_and_dies_and_its_neighbours_complete(
    supervise, send, notes, ended, conn, rabbitmq, eventually
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
    eventually(lambda: ended() == {1, *range(3, 20)})
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


@pytest.mark.parametrize("program", ["dramatiq", "periodiq"])
@pytest.mark.parametrize(
    ("module", "wrong", "right"),
    [
        ("parts", "WORKSHED_BROKRE_URL", "WORKSHED_BROKER_URL"),
        ("zoo", "WORKSHED_BROKRE_URL", "WORKSHED_BROKER_URL"),
        ("zoo", "ZOO_BRIDS", "ZOO_BIRDS"),
    ],
)
def test_plain_programs_with_a_wrong_setting_end_with_2_and_a_sentence(
    run_cold, environment, tmp_path, program, module, wrong, right
):
    """Any other error during the import of actors is a traceback and exit code 1."""
    (tmp_path / "zoo.py").write_text(ZOO)
    script = str(Path(sys.executable).with_name(program))
    code, said = run_cold(script, module, **{**environment, wrong: "7"})

    assert code == EXIT_USAGE, said
    assert f"{wrong} is not a setting; did you mean {right}?" in said
    assert "Traceback" not in said


def test_the_worker_of_a_killed_master_ends_when_its_jobs_have(
    start_worker, send, notes, eventually
):
    """Without `ParentWatch` it would consume forever, alongside its replacement."""
    master = start_worker("parts")
    process = master.children()[0]
    send("make", 1, 2.0)
    eventually(lambda: notes("start"))

    master.process.kill()

    eventually(lambda: has_ended(process))
    assert notes("end") == [(1, 1, process)]


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
    before = workers.workers()
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
    assert workers.workers() == before


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
        (("undeclared",), {}, 1, "queue 'invoices' is not declared"),
        (("strange:broker",), {}, 2, "strange:broker is a StubBroker, not a broker of Workshed"),
        (("strange:nothing",), {}, 2, "has no 'nothing'"),
        (("parts",), {"WORKSHED_APP": "chainless:app"}, 2, "No module named 'nochain'"),
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
    (tmp_path / "strange.py").write_text(
        "from dramatiq.brokers.stub import StubBroker\nbroker = StubBroker(middleware=[])\n"
    )
    (tmp_path / "chainless.py").write_text(
        "from workshed import App\napp = App(middleware='chain:CHAIN')\n"
    )
    (tmp_path / "chain.py").write_text("import nochain\n")
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
    slow = "import os, time\n"
    slow += "while not os.path.exists(f'go-{os.getpid()}'): time.sleep(0.01)\n"
    (tmp_path / "slow.py").write_text(slow + ACTORS)
    workers = supervise(modules=("slow",), processes=2, up=False)
    (first,) = eventually(workers.workers)
    assert workers.relays() == []

    (tmp_path / f"go-{first}").touch()
    _, second = eventually(lambda: len(found := workers.workers()) == 2 and found)
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
    eventually(lambda: all(map(has_ended, below)))
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


@pytest.mark.sample(1)
def test_a_worker_that_boots_ends_with_its_supervisor(supervise, tmp_path, eventually):
    """A worker that only noted the signal would boot, consume, and stay for ever."""
    slow = "import time\nopen('booting', 'w').close()\ntime.sleep(600)\n"
    (tmp_path / "slow.py").write_text(slow + ACTORS)
    workers = supervise(modules=("slow",), processes=1, up=False)
    eventually((tmp_path / "booting").exists)
    [worker] = workers.workers()

    workers.process.kill()

    eventually(lambda: has_ended(worker))


def test_nothing_is_left_of_a_killed_supervisor(supervise, send, notes, eventually):
    """Without `PR_SET_PDEATHSIG` all its processes would continue, alongside their replacements."""
    workers = supervise(processes=2, exporter=True)
    for number in range(60):
        send("make", number, 1.0)
    eventually(lambda: len(notes("start")) >= 4)
    below = descendants(workers.process.pid)
    assert set(below) == {*workers.workers(), *workers.relays()}
    assert len(below) == 3

    workers.process.kill()

    eventually(lambda: all(map(has_ended, below)))
    assert sorted(n for n, _, _ in notes("start")) == sorted(n for n, _, _ in notes("end"))


# Its log


def test_lines_of_all_children_are_whole(supervise, send, ended, eventually):
    """A line in the middle of another is neither readable nor JSON."""
    workers = supervise()
    for number in range(300):
        send("talk", number)
    eventually(lambda: len(ended()) == 300)
    assert workers.stop() == 0

    lines = workers.text().splitlines()
    assert [line for line in lines if not is_json(line)] == []
    assert sum('"event": "' + "x" * 3000 + '"' in line for line in lines) == 300


def is_json(line):
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
