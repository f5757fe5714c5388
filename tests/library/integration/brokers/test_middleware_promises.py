"""What dramatiq promises to middleware, on our broker: hooks, their order, threads, arguments.

The same scenario runs on dramatiq's own `StubBroker`, which defines the expected result.
"""

import threading
from contextlib import contextmanager

import dramatiq
import pytest
from dramatiq import Middleware, Worker
from dramatiq.broker import MessageProxy
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import SkipMessage

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

HOOKS = sorted(name for name in vars(Middleware) if name.startswith(("before_", "after_")))
AROUND = [
    "before_process_message",
    "after_process_message",
    "after_skip_message",
    "before_ack",
    "after_ack",
    "before_nack",
    "after_nack",
]
NOT_HERE = {
    "after_process_boot": "by the `dramatiq` command alone: `tests/library/e2e/test_log_lines.py`",
    "after_declare_delay_queue": "delayed messages are rows of PostgreSQL, in no queue",
    "before_delay_message": "likewise: no worker holds one until it is due",
    "before_nack": "a dead job is stored and acked; only what cannot be stored is not",
    "after_nack": "likewise",
}
"""Hooks that are not called in the scenario, and why."""


class Recorder(Middleware):
    """Records each call of a hook: recorder, hook, arguments and thread."""

    def __init__(self, name, calls):
        self.name, self.calls = name, calls


def recording(hook):
    def record(self, broker, *args, **named):
        self.calls.append((self.name, hook, broker, args, named, threading.current_thread()))

    record.__name__ = hook
    return record


for hook_name in HOOKS:
    setattr(Recorder, hook_name, recording(hook_name))


class Scene:
    """A broker with two recorders and three actors: one succeeds, one fails, one skips itself."""

    def __init__(self, broker, actor):
        self.broker, self.calls = broker, []
        broker.add_middleware(Recorder("first", self.calls))
        broker.add_middleware(Recorder("second", self.calls))

        @actor(max_retries=0)
        def succeeds(number):
            return number + 1

        @actor(max_retries=0)
        def fails(number):
            raise OSError("fails on purpose")

        @actor(max_retries=0)
        def skips(number):
            raise SkipMessage

        self.actors = {"succeeds": succeeds, "fails": fails, "skips": skips}

    def run(self, eventually):
        """Send one of each; return once a worker has acked them, and has stopped."""
        worker = Worker(self.broker, queues={"default"}, worker_threads=1, worker_timeout=100)
        worker.start()
        for actor in self.actors.values():
            actor.send(1)
        eventually(lambda: len(self.of("second", "after_ack", "after_nack")) == 3)
        worker.stop()

    def of(self, name, *hooks):
        """Return the calls of one recorder; of all hooks if none is named."""
        return [
            call for call in list(self.calls) if call[0] == name and call[1] in (hooks or HOOKS)
        ]

    def around(self, actor, name=None):
        """Return (recorder, hook) of the calls about a job of an actor, once it is in a worker."""
        return [
            (who, hook)
            for who, hook, _, args, _, _ in self.calls
            if hook in AROUND and args[0].actor_name == actor and name in (None, who)
        ]


@contextmanager
def forgetting(broker):
    """Restore the middleware of a broker afterwards."""
    chain, options = list(broker.middleware), set(broker.actor_options)
    yield
    broker.middleware[:] = chain
    broker.actor_options = options
    broker._hooks.clear()


@pytest.fixture
def ours(broker, actor, eventually):
    broker.queues.pop("default", None)  # so that the first actor on a queue calls a hook
    with forgetting(broker):
        scene = Scene(broker, lambda **options: actor(queue_name="default", **options))
        scene.run(eventually)
        yield scene


@pytest.fixture
def stock(eventually):
    broker = StubBroker()
    scene = Scene(broker, lambda **options: dramatiq.actor(broker=broker, **options))
    scene.run(eventually)
    yield scene
    broker.close()


def test_each_hook_is_called_or_listed_as_not_called(ours):
    assert {hook for _, hook, *_ in ours.calls} | NOT_HERE.keys() == set(HOOKS)
    assert not {hook for _, hook, *_ in ours.calls} & NOT_HERE.keys()


@pytest.mark.parametrize("job", ["succeeds", "skips"])
def test_the_hooks_around_a_job_are_those_of_dramatiq_in_its_order(ours, stock, job):
    """`before_*` downwards, `after_*` upwards, for each message separately."""
    assert ours.around(job) == stock.around(job)


def test_the_hooks_around_a_job_that_fails_are_the_same_but_for_the_ack(ours, stock):
    """Once its outcome is stored, RabbitMQ has nothing more to do with the job."""
    said = [(who, hook.replace("nack", "ack")) for who, hook in stock.around("fails")]

    assert ours.around("fails") == said


def test_a_send_calls_before_hooks_downwards_and_after_hooks_upwards(ours, stock):
    def sends(scene):
        return [(who, hook) for who, hook, *_ in scene.calls if hook.endswith("_enqueue")]

    assert sends(ours) == sends(stock)
    assert sends(ours)[:4] == [
        ("first", "before_enqueue"),
        ("second", "before_enqueue"),
        ("second", "after_enqueue"),
        ("first", "after_enqueue"),
    ]


def test_a_worker_calls_the_hooks_of_its_life_as_in_dramatiq(ours, stock):
    def life(scene):
        return [hook for _, hook, *_ in scene.of("first") if "worker_" in hook]

    assert sorted(life(ours)) == sorted(life(stock))
    for scene in (ours, stock):
        hooks = life(scene)
        assert hooks[0] == "before_worker_boot"
        assert hooks.index("before_worker_shutdown") > hooks.index("after_worker_boot")
        assert hooks[-1] == "after_worker_shutdown"


def test_the_arguments_are_those_of_dramatiq(ours, stock):
    """The broker first; then a message, a proxy, a thread, a worker, or the name of a queue."""

    def kinds(scene):
        return {
            (hook, tuple(map(kind, args)), tuple(sorted(named)))
            for _, hook, _, args, named, _ in scene.of("first")
            if "nack" not in hook
        }

    def kind(value):
        for cls in (MessageProxy, dramatiq.Message, dramatiq.Actor, Worker, threading.Thread):
            if isinstance(value, cls):
                return cls
        return type(value)

    only_stock = {found for found in kinds(stock) if found[0] in NOT_HERE}
    assert kinds(ours) == kinds(stock) - only_stock
    assert {broker for _, _, broker, *_ in ours.calls} == {ours.broker}


def test_a_hook_gets_the_result_or_the_exception(ours, stock):
    def ends(scene):
        calls = scene.of("first", "after_process_message")
        return {
            args[0].actor_name: (named.get("result"), type(named.get("exception")))
            for _, _, _, args, named, _ in calls
        }

    assert ends(ours) == ends(stock) == {"succeeds": (2, type(None)), "fails": (None, OSError)}


@pytest.mark.parametrize("scene", ["ours", "stock"])
def test_each_hook_runs_in_the_same_thread_as_in_dramatiq(scene, request):
    """A connection that is bound to a thread must be closed in that thread."""
    found = request.getfixturevalue(scene)
    threads = {hook: set() for hook in HOOKS}
    for _, hook, _, _, _, thread in found.calls:
        threads[hook].add(thread)
    [working] = threads["after_worker_thread_boot"]
    consuming = threads["after_consumer_thread_boot"]  # dramatiq has one more, for delayed messages
    here = threading.current_thread()

    for hook in AROUND[:5]:
        assert threads[hook] == {working}, hook
    assert threads["before_worker_thread_shutdown"] == {working}
    assert threads["before_consumer_thread_shutdown"] == consuming
    for hook in ("before_enqueue", "after_enqueue", "before_worker_boot", "after_worker_shutdown"):
        assert threads[hook] == {here}, hook
    assert not consuming & {working, here}
    assert working is not here


def test_the_delay_of_a_send_is_in_milliseconds(broker, actor):
    calls = []
    with forgetting(broker):
        broker.add_middleware(Recorder("first", calls))

        @actor(queue_name="default")
        def note(number):
            pass

        note.send_with_options(args=(1,), delay=1_500)

    assert [args[1] for _, hook, _, args, *_ in calls if hook.endswith("_enqueue")] == [1_500] * 2


def test_middleware_added_late_learns_of_existing_actors_and_queues(broker, actor):
    @actor(queue_name="default", actor_name="early")
    def early():
        pass

    calls = []
    with forgetting(broker):
        broker.add_middleware(Recorder("late", calls))

    declared = {(hook, getattr(args[0], "actor_name", args[0])) for _, hook, _, args, *_ in calls}
    assert {("after_declare_actor", "early"), ("after_declare_queue", "default")} <= declared
