"""A small application behind the console's server."""

import asyncio
import logging
import socket
import threading
from contextlib import ExitStack

import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from workshed.console.web.server import build, protocol
from workshed.console.web.server.clients import Proxies

HANGS_S = 60
BUFFER_BYTES = 4_096
"""The size of each socket's buffer; the system doubles it."""


class Site:
    """An application, and the server in front of it."""

    def __init__(self, proxies=""):
        self.bodies = []
        self.ends = asyncio.Event()
        self.server = build.build_server(
            Starlette(
                routes=[
                    Route("/hello", self.hello),
                    Route("/client", self.client),
                    Route("/wait", self.wait),
                    Route("/slow", self.slow),
                    Route("/long", self.long),
                    Route("/read", self.read, methods=["POST"]),
                    Route("/early", self.hello, methods=["POST"]),
                ]
            ),
            Proxies.parse(proxies),
        )
        self.table = self.server.config.http.table

    async def hello(self, _request):
        return PlainTextResponse("hello")

    async def client(self, request):
        return PlainTextResponse(f"{request.client.host} {request.url.scheme}")

    async def wait(self, _request):
        await self.ends.wait()
        return PlainTextResponse("waited")

    async def slow(self, _request):
        async def pieces():
            for _ in range(4):
                yield "piece"
                await asyncio.sleep(0.2)

        return StreamingResponse(pieces())

    async def long(self, request):
        return PlainTextResponse("x" * int(request.query_params["bytes"]))

    async def read(self, request):
        try:
            self.bodies.append(await request.body())
        except ClientDisconnect:
            self.bodies.append("left early")
        return PlainTextResponse("read")

    def run(self, listener):
        self.loop = asyncio.new_event_loop()
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self.server.serve([listener]))

    def end_waits(self):
        self.loop.call_soon_threadsafe(self.ends.set)


@pytest.fixture
def serve(monkeypatch):
    """`serve(proxies="")`: a `Site` that is served; `.port` is its port. Its log is captured."""
    monkeypatch.setattr(protocol, "REQUEST_S", 0.5)
    with ExitStack() as stack:

        def start(proxies=""):
            site = Site(proxies)
            monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
            site.port = listener.getsockname()[1]
            thread = threading.Thread(target=site.run, args=(listener,))
            thread.start()

            def stop():
                site.end_waits()
                site.server.should_exit = True
                thread.join(HANGS_S)

            stack.callback(stop)
            return site

        yield start


@pytest.fixture
def connect():
    """`connect(site, b"GET …")`: a socket that has sent this."""
    with ExitStack() as stack:

        def start(site, sent=b"", host="127.0.0.1"):
            found = stack.enter_context(socket.socket())
            found.settimeout(HANGS_S)
            found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
            found.bind((host, 0))
            found.connect(("127.0.0.1", site.port))
            found.sendall(sent)
            return found

        yield start


def read_all(connection):
    """Return what arrives until the server closes the connection."""
    received = bytearray()
    try:
        while piece := connection.recv(65_536):
            received += piece
    except ConnectionResetError:
        pass
    return bytes(received)
