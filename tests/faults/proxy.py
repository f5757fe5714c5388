"""A TCP proxy in front of a real server on loopback, with failures on demand."""

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from tests.faults.pair import Lane, Pair, Way
from workshed.devserver.ports import HOST, find_free_ports


class Proxy:
    """Forwards bytes in both directions, until a method makes it fail.

    A method may be called from any thread, and has taken effect when it returns. `cut`, `half_open`
    and `truncate` affect only current connections; later ones work normally.
    """

    def __init__(self, host: str, port: int, at: str = HOST) -> None:
        """Choose a port of the address `at`; it starts to listen when the block is entered."""
        self.at = at
        self.port = find_free_ports(1)[0]
        self.accepted = 0
        """Number of accepted connections, including closed ones."""
        self.lanes: dict[Way, Lane] = {"up": Lane(), "down": Lane()}
        self._server = (host, port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._listener: socket.socket | None = None
        self._pairs: dict[Pair, asyncio.Task[None]] = {}
        self._next_left_bytes: dict[Way, int] = {}

    def __enter__(self) -> Self:
        """Start forwarding."""
        self._thread.start()
        self.resume()
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        """Close everything."""
        self.refuse()
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def url(self, url: str) -> str:
        """Return the URL of a server through this proxy."""
        parts = urlsplit(url)
        login, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{login}{at}{self.at}:{self.port}"))

    @property
    def connections(self) -> int:
        """Return the number of open connections."""
        return len(self._pairs)

    def passed(self, way: Way) -> int:
        """Return how many bytes were forwarded in a direction."""
        return self.lanes[way].passed_bytes

    def cut(self, *, reset: bool = True) -> None:
        """Close all connections now, by RST or by FIN."""

        def end(pair: Pair) -> None:
            pair.reset = reset
            self._pairs[pair].cancel()

        self._do(lambda: self._each(end))

    def half_open(self) -> None:
        """Close only the server's side: clients do not notice, and what they send vanishes."""
        self._do(lambda: self._each(Pair.deafen))

    def refuse(self) -> None:
        """Refuse new connections; open ones stay open."""
        self._do(self._refuse)

    def accept(self) -> None:
        """Accept connections again, on the same port."""
        self._do(self._accept)

    def stall(self, *ways: Way) -> None:
        """Hold the bytes of one direction, or of both, without losing any."""
        for way in ways or self.lanes:
            self._do(self.lanes[way].flowing.clear)

    def resume(self) -> None:
        """Forward the held bytes, and all later ones."""
        for lane in self.lanes.values():
            self._do(lane.flowing.set)

    def truncate(self, after_bytes: int, way: Way) -> None:
        """Forward this many more bytes of each connection, then close it."""

        def limit(pair: Pair) -> None:
            pair.left_bytes[way] = after_bytes

        self._do(lambda: self._each(limit))

    def truncate_next(self, after_bytes: int, way: Way) -> None:
        """Do the same with the next connection, from its first byte."""
        self._do(lambda: self._next_left_bytes.update({way: after_bytes}))

    def delay(self, seconds: float) -> None:
        """Forward each piece later by this much."""
        for lane in self.lanes.values():
            lane.delay_s = seconds

    def _do(self, step: Callable[[], None]) -> None:
        async def run() -> None:
            step()
            if ended := [task for task in self._pairs.values() if task.cancelling()]:
                await asyncio.wait(ended)

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(timeout=60)

    def _each(self, step: Callable[[Pair], None]) -> None:
        for pair in self._pairs:
            step(pair)

    def _accept(self) -> None:
        self._refuse()
        self._listener = socket.create_server((self.at, self.port))
        self._loop.add_reader(self._listener, self._take, self._listener)

    def _refuse(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _take(self, listener: socket.socket) -> None:
        self.accepted += 1
        pair = Pair(listener.accept()[0], socket.socket())
        pair.left_bytes, self._next_left_bytes = self._next_left_bytes, {}
        serving = pair.serve(self._server, self.lanes["up"], self.lanes["down"])
        self._pairs[pair] = self._loop.create_task(serving)
        self._pairs[pair].add_done_callback(lambda _: self._forget(pair))

    def _forget(self, pair: Pair) -> None:
        del self._pairs[pair]
        pair.close()
