"""Two programs that share a queue by accident: each gets the other's jobs."""

import json
import os

import pytest

from tests.conftest import management

JOBS = """
import dramatiq
from workshed import broker

@dramatiq.actor(broker=broker, queue_name="default")
def {name}(): ...
"""


@pytest.fixture
def programs(warm, broker, vhost, servers, environment, numbers, tmp_path):
    """`programs("shop", "blog")`: a worker of each runs until the test ends."""
    started = []
    env = {
        **environment,
        **numbers,
        "WORKSHED_BROKER_URL": vhost,
        "WORKSHED_MANAGEMENT_URL": management(servers),
    }

    def start(*names):
        for name in names:
            (tmp_path / f"{name}_jobs.py").write_text(JOBS.format(name=name))
            log = tmp_path / f"{len(started)}.log"
            words = ["dramatiq", "-p", "1", "-t", "1", f"{name}_jobs"]
            started.append(warm.start(*words, env={**os.environ, **env}, log=log))
        return env

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(60)


@pytest.fixture
def shared(programs, run_apart, rabbitmq, eventually):
    """`shared("shop", "blog")`: the doctor's check of these workers."""

    def find(*names):
        env = programs(*names)
        path = f"queues/{rabbitmq.vhost}/default"
        eventually(
            lambda: (
                "default" in rabbitmq.queues()
                and len(rabbitmq.ask("GET", path)["consumer_details"]) == len(names)
            )
        )
        done = run_apart(
            "-m", "workshed", "doctor", "--json", "--import", f"{names[0]}_jobs", **env
        )
        return [one for one in json.loads(done.stdout)["checks"] if one["check"] == "workers"]

    return find


def test_the_doctor_names_two_programs_that_share_a_queue(shared):
    """A job would wait while only workers of the other are up, and nothing would say why."""
    [found] = shared("shop", "blog")

    assert found["level"] == "warning"
    assert "workers with different actors share queue default: blog_jobs on " in found["message"]
    assert "; shop_jobs on " in found["message"]
    assert "WORKSHED_QUEUE_PREFIX" in found["fix"]


def test_two_workers_of_one_program_are_no_trouble(shared):
    [found] = shared("shop", "shop")

    assert found["level"] == "ok"
