"""What `workshed.embed` takes, and the order of a lifespan."""

import asyncio
import os
import threading
from datetime import timedelta
from functools import partial
from types import SimpleNamespace

import dramatiq
import pytest

import workshed
from workshed import Queue
from workshed.errors import WorkshedError
from workshed.settings import Settings
from workshed.testing.fake_broker import replace_broker
from workshed.transport.build import build_broker
from workshed.transport.embedding import embedded_worker
from workshed.transport.embedding.embedded_worker import EmbeddedWorker, check_actors
from workshed.transport.embedding.wrapping import EmbeddedASGI, EmbeddedWSGI
from workshed.transport.errors import UndeclaredQueueError
from workshed.transport.worker.shutdown import GracefulShutdown


@pytest.fixture
def stub(monkeypatch):
    """`stub://` as the broker of this process."""
    found = build_broker(Settings(broker_url="stub://"), {"default": Queue("default")})
    monkeypatch.setattr(embedded_worker, "get_broker", lambda: found)
    return found


class Noted:
    """Notes what happens to it, in the place of a worker."""

    def __init__(self, notes, error=None):
        self.notes, self.error = notes, error

    def start(self):
        self.notes.append("worker starts")
        if self.error:
            raise self.error

    def ensure_started(self):
        self.notes.append("worker starts with a request")

    def stop(self):
        self.notes.append("worker stops")


async def plain(scope, receive, send):
    """An ASGI application that knows no lifespan."""
    assert scope["type"] == "http"


async def silent(scope, receive, send):
    """One that ignores it."""


class Application:
    """An ASGI application with a lifespan."""

    def __init__(self, notes):
        self.notes = notes

    async def __call__(self, scope, receive, send):
        assert (await receive())["type"] == "lifespan.startup"
        self.notes.append("application starts")
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        self.notes.append("application stops")
        await send({"type": "lifespan.shutdown.complete"})


def live(app, worker):
    """Run a lifespan to its end; return the messages that the server gets."""
    asked = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    answers = []

    async def receive():
        return asked.pop(0)

    async def send(message):
        answers.append(message)

    asyncio.run(EmbeddedASGI(app, worker)({"type": "lifespan"}, receive, send))
    return answers


def test_the_worker_starts_after_the_application_and_stops_before_it():
    notes = []

    answers = live(Application(notes), Noted(notes))

    assert notes == ["application starts", "worker starts", "worker stops", "application stops"]
    assert [one["type"] for one in answers] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


def test_a_worker_that_is_refused_fails_the_startup_and_the_application_shuts_down():
    notes = []

    answers = live(Application(notes), Noted(notes, WorkshedError("not here")))

    assert notes == ["application starts", "worker starts", "application stops"]
    assert answers == [{"type": "lifespan.startup.failed", "message": "not here"}]


@pytest.mark.parametrize("app", [plain, silent])
def test_an_application_without_a_lifespan_gets_one(app):
    notes = []

    answers = live(app, Noted(notes))

    assert notes == ["worker starts", "worker stops"]
    assert len(answers) == 2


def test_an_error_of_the_application_at_its_start_reaches_the_server():
    async def broken(scope, receive, send):
        await receive()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        live(broken, Noted([]))


def test_a_request_starts_the_worker_of_a_server_without_lifespans():
    notes = []

    asyncio.run(EmbeddedASGI(silent, Noted(notes))({"type": "http"}, None, None))

    assert notes == ["worker starts with a request"]


class AsyncObject:
    async def __call__(self, scope, receive, send): ...


def wsgi(environ, start_response):
    return [b""]


@pytest.mark.parametrize(
    ("app", "kind"),
    [
        (plain, EmbeddedASGI),
        (AsyncObject(), EmbeddedASGI),
        (partial(plain), EmbeddedASGI),
        (wsgi, EmbeddedWSGI),
        (partial(wsgi), EmbeddedWSGI),
    ],
)
def test_it_finds_which_kind_an_application_is(app, kind):
    assert type(workshed.embed(app)) is kind


@pytest.mark.parametrize(
    ("app", "options", "error"),
    [
        (None, {}, "None is no ASGI or WSGI application"),
        (AsyncObject, {}, "is no ASGI or WSGI application"),
        (wsgi, {"threads": 0}, "at least one thread"),
        (wsgi, {"queues": "default"}, "give a list of names"),
        (wsgi, {"queues": []}, "name at least one"),
        (workshed.embed(wsgi), {}, "already"),
    ],
)
def test_wrong_arguments_are_refused(app, options, error):
    with pytest.raises((TypeError, ValueError), match=error):
        workshed.embed(app, **options)


def test_where_sends_are_only_recorded_nothing_starts(stub):
    worker = EmbeddedWorker(1, None)

    worker.ensure_started()

    assert embedded_worker._process.worker is None
    worker.stop()


def test_where_a_test_runs_the_jobs_nothing_starts(stub, monkeypatch):
    real = build_broker(Settings(broker_url="postgresql:"), {"default": Queue("default")})
    monkeypatch.setattr(embedded_worker, "get_broker", lambda: real)
    monkeypatch.setattr(EmbeddedWorker, "_start", lambda *_: pytest.fail("it starts"))

    with replace_broker(real, stub):
        EmbeddedWorker(1, None).start()


def test_where_no_thread_can_start_the_shutdown_runs_in_the_thread_that_begins_it(monkeypatch):
    """As in the hooks at the exit of Python 3.12 and later."""
    done = []
    inbox = SimpleNamespace(stop_consuming=lambda _: done.append("consumes no more"))
    execution = SimpleNamespace(
        work=SimpleNamespace(close=lambda: done.append("starts no more")),
        requeue_waiting=lambda _: len(done),
        running_jobs=SimpleNamespace(wait_until_empty=lambda _: done.append("has waited") or True),
    )

    def refuse(self):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    GracefulShutdown(inbox, execution, lambda: None, 1.0).begin()

    assert done == ["starts no more", "consumes no more", "has waited"]


def test_a_hard_limit_is_refused_unless_its_queue_runs_elsewhere(stub):
    stub.add_queue(Queue("low"))

    @workshed.actor(broker=stub, queue="low", hard_time_limit=timedelta(hours=1))
    def render():
        """A page."""

    @dramatiq.actor(broker=stub, queue_name="default")
    def greet():
        """A user."""

    with pytest.raises(WorkshedError, match=r"render: .*queues=\['default'\]"):
        check_actors(stub, None)
    check_actors(stub, {"default"})


def test_a_queue_that_is_not_declared_is_refused(stub):
    with pytest.raises(UndeclaredQueueError, match="did you mean 'default'"):
        check_actors(stub, {"defualt"})


def test_a_process_runs_the_jobs_of_one_embed(monkeypatch):
    monkeypatch.setattr(embedded_worker._process, "worker", EmbeddedWorker(1, None))
    monkeypatch.setattr(embedded_worker._process, "pid", os.getpid())

    with pytest.raises(WorkshedError, match="already runs the jobs of another"):
        EmbeddedWorker(1, None).start()


def test_a_process_forked_from_one_that_runs_jobs_runs_none(monkeypatch, caplog):
    mine = EmbeddedWorker(1, None)
    monkeypatch.setattr(embedded_worker._process, "worker", mine)
    monkeypatch.setattr(embedded_worker._process, "pid", os.getppid())

    mine.ensure_started()
    mine.ensure_started()
    mine.stop()

    assert caplog.text.count("no jobs run in process") == 1
