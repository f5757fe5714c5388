"""`workshed.embed`: an ASGI or WSGI application whose processes run jobs as well."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any

from workshed.errors import WorkshedError
from workshed.transport.embedding.embedded_worker import EmbeddedWorker

logger = logging.getLogger(__name__)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def embed(
    app: Callable[..., Any], *, threads: int = 4, queues: Collection[str] | None = None
) -> Callable[..., Any]:
    """Return an ASGI or WSGI application that also runs jobs in each process that serves it.

    `threads` run jobs of the `queues`, by default of all queues of your actors. A relay runs as
    well, unless `WORKSHED_RELAY_FORK=false`. Nothing starts before the process serves: with the
    lifespan of an ASGI server, or else with the first request. A server that forks does that first,
    so wrap the application where it is created, also under `gunicorn --preload`.

    When the process ends, running jobs have `WORKSHED_SHUTDOWN_GRACE` to finish, and jobs that have
    not started run elsewhere. With an ASGI lifespan that is before your own shutdown, otherwise at
    the exit of the interpreter. Signals stay with the server.

    If PostgreSQL or RabbitMQ is away, the process serves, logs that no jobs run, reports it at
    `/readyz`, and tries again. What would end the process is refused when it starts: actors with a
    `hard_time_limit=` need `workshed worker`, and so does a job after two processes ended while it
    ran, which is dead here.

    Raises `TypeError` if `app` is no application, and `ValueError` without a thread or a queue. If
    an actor or a queue is refused, or if the process already runs the jobs of another `embed`, the
    start raises `WorkshedError`: an ASGI server reports it and exits, and a WSGI application raises
    it for each request.
    """
    given: Any = app
    if not callable(given) or isinstance(given, type):
        raise TypeError(f"{app!r} is no ASGI or WSGI application")
    if isinstance(app, (EmbeddedASGI, EmbeddedWSGI)):
        raise TypeError("this application is wrapped by `workshed.embed` already")
    if isinstance(queues, str):
        raise TypeError(f"queues={queues!r}: give a list of names")
    if queues is not None and not queues:
        raise ValueError("queues: name at least one, or leave it out for those of all actors")
    if threads < 1:
        raise ValueError(f"threads={threads}: at least one thread must run jobs")
    worker = EmbeddedWorker(threads, None if queues is None else frozenset(queues))
    return EmbeddedASGI(app, worker) if is_asgi(app) else EmbeddedWSGI(app, worker)


def is_asgi(app: Callable[..., Any]) -> bool:
    """Return whether an application is called as ASGI servers do."""
    call = getattr(app, "__call__", None)  # noqa: B004 -- to look at it, not whether it is there
    return any(map(inspect.iscoroutinefunction, (app, call)))


class EmbeddedWSGI:
    """A WSGI application whose first request in a process starts the worker."""

    def __init__(self, app: Callable[..., Iterable[bytes]], worker: EmbeddedWorker) -> None:
        self._app = app
        self._worker = worker

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request."""
        self._worker.ensure_started()
        return self._app(environ, start_response)


class EmbeddedASGI:
    """An ASGI application whose lifespan includes that of the worker."""

    def __init__(
        self, app: Callable[[Scope, Receive, Send], Awaitable[None]], worker: EmbeddedWorker
    ) -> None:
        self._app = app
        self._worker = worker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, or the lifespan of the process."""
        if scope["type"] == "lifespan":
            await Lifespan(self._worker, receive, send).run(self._app, scope)
        else:
            self._worker.ensure_started()  # the server may have no lifespan
            await self._app(scope, receive, send)


class Lifespan:
    """One lifespan: the worker starts after the application, and stops before it."""

    def __init__(self, worker: EmbeddedWorker, receive: Receive, send: Send) -> None:
        self._worker = worker
        self._receive_next = receive
        self._send_next = send
        self._has_received = False
        self._has_failed = False

    async def run(self, app: Callable[..., Awaitable[None]], scope: Scope) -> None:
        """Run the application's lifespan, or one in its place if it has none."""
        try:
            await app(scope, self._receive, self._send)
        except Exception:
            if self._has_received:
                raise
            logger.debug("the application has no lifespan", exc_info=True)
        if not self._has_received:
            await self._receive()
            await self._send({"type": "lifespan.startup.complete"})
            await self._receive()
            await self._send({"type": "lifespan.shutdown.complete"})

    async def _receive(self) -> dict[str, Any]:
        if self._has_failed:
            return {"type": "lifespan.shutdown"}
        message = await self._receive_next()
        self._has_received = True
        if message["type"] == "lifespan.shutdown":
            await asyncio.to_thread(self._worker.stop)
        return message

    async def _send(self, message: dict[str, Any]) -> None:
        if self._has_failed:  # the server was notified, and the application shuts down
            return
        if message["type"] == "lifespan.startup.complete":
            try:
                self._worker.start()
            except WorkshedError as err:
                self._has_failed = True
                message = {"type": "lifespan.startup.failed", "message": str(err)}
        await self._send_next(message)
