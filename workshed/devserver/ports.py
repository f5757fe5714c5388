"""Free loopback ports."""

import contextlib
import secrets
import socket

HOST = "127.0.0.1"
# Below 32768, where Linux takes the port of every outgoing connection from: one of those may sit on
# a port between our look and the server's bind, and RabbitMQ takes 3 s to find out.
RANGE = range(21_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Return different ports that nobody listens on at this moment."""
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        while len(ports) < count:
            port = secrets.choice(RANGE)
            sock = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                sock.bind((HOST, port))
                ports.append(port)
    return ports


def is_free(port: int) -> bool:
    """Tell whether a server could listen there at this moment."""
    with socket.socket() as sock:
        # As servers do: what is left of closed connections is not in the way.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, port))
        except OSError:
            return False
    return True
