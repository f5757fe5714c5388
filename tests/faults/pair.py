"""A client's connection to a proxy, and the proxy's connection to the server for it."""

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass, field
from typing import Literal

CHUNK_BYTES = 65_536
RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: closing sends RST instead of FIN

Way = Literal["up", "down"]
"""`up` is from the client to the server."""


@dataclass(slots=True)
class Lane:
    """One direction of a proxy, shared by all its connections."""

    flowing: asyncio.Event = field(default_factory=asyncio.Event)
    passed_bytes: int = 0
    delay_s: float = 0.0


class Pair:
    """Forwards bytes until either side closes, or until it is closed."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        """Take the client's connected socket, and an unconnected one for the server."""
        self.half_open = False
        self.reset = False
        self.left_bytes: dict[Way, int] = {}
        """Bytes that may still pass before this is closed; a missing way is unlimited."""
        self._client = client
        self._server = server

    def deafen(self) -> None:
        """Close only the server's side: the client does not notice, and what it sends vanishes."""
        self.half_open = True
        with contextlib.suppress(OSError):  # it may not be connected yet
            self._server.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close both sides, by RST or by FIN."""
        for sock in (self._client, self._server):
            if self.reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            sock.close()

    async def serve(self, address: tuple[str, int], up: Lane, down: Lane) -> None:
        """Connect to the server and forward bytes."""
        loop = asyncio.get_running_loop()
        self._client.setblocking(False)
        self._server.setblocking(False)
        try:
            await loop.sock_connect(self._server, address)
        except OSError:
            return
        pumps = [loop.create_task(self._up(up)), loop.create_task(self._down(down))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _up(self, lane: Lane) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            await self._pass_on("up", lane, self._client, self._server)
            while self.half_open and await loop.sock_recv(self._client, CHUNK_BYTES):
                pass

    async def _down(self, lane: Lane) -> None:
        with contextlib.suppress(OSError):
            await self._pass_on("down", lane, self._server, self._client)
        if self.half_open:
            await asyncio.Event().wait()

    async def _pass_on(
        self, way: Way, lane: Lane, source: socket.socket, to: socket.socket
    ) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(source, CHUNK_BYTES):
            await asyncio.sleep(lane.delay_s)
            await lane.flowing.wait()
            if self.half_open:
                return
            part = self._admit(way, data)
            lane.passed_bytes += len(part)
            await loop.sock_sendall(to, part)
            if len(part) < len(data):
                return

    def _admit(self, way: Way, data: bytes) -> bytes:
        if way not in self.left_bytes:
            return data
        part = data[: self.left_bytes[way]]
        self.left_bytes[way] -= len(part)
        return part
