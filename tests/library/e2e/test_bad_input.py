"""Mistakes of a user are reported in one sentence, with an exit code, before anything is lost."""

import pytest

SLOW = """
import time
from dramatiq import cli

def watch_logs(*args, reads=cli.watch_logs):
    time.sleep(1)
    reads(*args)

cli.watch_logs = watch_logs
"""
"""A master whose thread that reads the workers' output starts late, as on a busy machine."""


ACTORS = """
import dramatiq
from workshed import broker

for queue in ("bulk", "critical", "default", "emails"):
    dramatiq.actor(broker=broker, queue_name=queue, actor_name=f"to_{queue}")(print)
"""


@pytest.fixture
def boot(environment, broker, run, tmp_path):
    """Start a worker that should refuse; returns its exit code and its output."""
    (tmp_path / "actors.py").write_text(ACTORS)

    def boot(*options, module="actors", start=run, **env):
        command = ["-m", "dramatiq", module, "-p", "1", "-t", "2", *options]
        return start(*command, **{**environment, **env})

    return boot


def test_rabbitmq_that_is_away_is_named(boot):
    code, said = boot(WORKSHED_BROKER_URL="amqp://ada:secret@127.0.0.1:9/")

    assert code == 3
    assert "RabbitMQ does not answer at 127.0.0.1:9" in said
    assert "Start it, correct the URL, or run `workshed dev`" in said
    assert "secret" not in said


def test_postgresql_that_is_away_is_named(boot):
    code, said = boot(WORKSHED_DATABASE_URL="postgresql://ada:secret@127.0.0.1:9/shop")

    assert code == 4
    assert "PostgreSQL does not answer at 127.0.0.1:9/shop" in said
    assert "secret" not in said


def test_a_database_that_was_not_migrated_is_refused(boot, empty_database_url):
    code, said = boot(WORKSHED_DATABASE_URL=empty_database_url)

    assert code == 2, said
    assert "run `workshed migrate`" in said


def test_a_typo_in_q_is_refused_with_the_likely_queue(boot):
    """Stock dramatiq says "ready" and consumes nothing."""
    code, said = boot("-Q", "emial")

    assert code == 2, said
    assert "queue 'emial' is not declared (did you mean 'emails'?)" in said


@pytest.mark.parametrize(
    ("words", "options", "expected"),
    [
        ("", ("-Q", "emial"), "queue 'emial' is not declared (did you mean 'emails'?)"),
        ("import nothing_of_this_name", (), "No module named 'nothing_of_this_name'"),
    ],
)
def test_why_a_worker_does_not_start_is_read_by_a_slow_master(
    boot, run_cold, environment, tmp_path, words, options, expected
):
    """Stock dramatiq stops reading once its workers have ended, and then prints nothing."""
    (tmp_path / "sitecustomize.py").write_text(SLOW)
    (tmp_path / "mine.py").write_text(f"from actors import *\n{words}\n")
    path = f"{tmp_path}:{environment['PYTHONPATH']}"

    code, said = boot(*options, module="mine", start=run_cold, PYTHONPATH=path)

    assert expected in said
    assert code != 0, said


def test_a_queue_without_an_actor_is_refused(boot, tmp_path):
    words = "import actors\nfrom workshed import Queue, broker\nbroker.add_queue(Queue('empty'))\n"
    (tmp_path / "stranger.py").write_text(words)

    code, said = boot("-Q", "empty", module="stranger")

    assert code == 2, said
    assert "no actor of this program is on that queue; they are on bulk, critical, default" in said


def test_every_problem_of_the_environment_is_reported_at_once(boot):
    code, said = boot(
        WORKSHED_BROKR_URL="x", WORKSHED_POOL_SIZE="many", WORKSHED_BROKER_URL="http://127.0.0.1"
    )

    assert code != 0
    assert "WORKSHED_BROKR_URL is not a setting; did you mean WORKSHED_BROKER_URL?" in said
    assert "WORKSHED_POOL_SIZE: " in said
    assert "WORKSHED_BROKER_URL: must start with amqp://" in said


def test_weights_for_an_unknown_queue_are_refused(boot):
    code, said = boot(WORKSHED_QUEUES="critcal=3")

    assert code != 0
    assert "WORKSHED_QUEUES: 'critcal=3' is not NAME=WEIGHT of a declared queue" in said


def test_an_undeclared_queue_is_refused_with_the_line_to_add(boot, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import dramatiq\n"
        "from workshed import broker\n"
        "dramatiq.actor(broker=broker, queue_name='invoices', actor_name='a')(print)\n"
    )

    code, said = boot(module="mine")

    assert code != 0
    assert 'broker.add_queue(Queue("invoices"))' in said


def test_stub_cannot_work(boot):
    code, said = boot(WORKSHED_BROKER_URL="stub://")

    assert code != 0
    assert "stub:// only records sends" in said


@pytest.mark.parametrize(
    ("variable", "url", "code", "words"),
    [
        ("WORKSHED_DATABASE_URL", "postgresql://127.0.0.1:9/x", 4, "PostgreSQL does not answer"),
        ("WORKSHED_DATABASE_URL", "mysql://127.0.0.1/x", 2, "must start with postgresql://"),
        ("WORKSHED_DATABASE_ULR", "x", 2, "did you mean WORKSHED_DATABASE_URL?"),
    ],
)
def test_the_command_line_says_the_same(variable, url, code, words, environment, run):
    found, said = run("-m", "workshed", "migrate", **{**environment, variable: url})

    assert found == code
    assert words in said
    assert "Traceback" not in said


LATE = """
import dramatiq

@dramatiq.actor
def greet(name):
    pass

from workshed import broker
"""
"""A bare actor, declared before the broker exists, is on a broker that dramatiq makes."""
OTHER = """
import dramatiq
from dramatiq.brokers.stub import StubBroker

from workshed import broker

dramatiq.set_broker(StubBroker())

@dramatiq.actor
def greet(name):
    pass
"""
PICKLED = """
import dramatiq
from actors import *

dramatiq.set_encoder(dramatiq.PickleEncoder())
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LATE, "declared on a RabbitmqBroker, not on Workshed's broker: greet."),
        (PICKLED, "leave out the call of dramatiq.set_encoder with PickleEncoder"),
    ],
    ids=["late", "pickled"],
)
def test_a_program_of_which_no_job_would_run_is_refused_at_boot(boot, tmp_path, text, expected):
    """The worker would say "ready" and wait at another broker, or for jobs that all die."""
    (tmp_path / "mine.py").write_text(text)

    code, said = boot(module="mine")

    assert code == 2, said
    assert expected in said


def test_actors_on_another_broker_end_a_worker_of_ours(environment, broker, run, tmp_path):
    """`workshed worker` would silently run none of their jobs."""
    (tmp_path / "mine.py").write_text(OTHER)

    code, said = run("-m", "workshed", "worker", "mine", "-p", "1", "-t", "1", **environment)

    assert code == 2, said
    assert "declared on a StubBroker, not on Workshed's broker: greet." in said
