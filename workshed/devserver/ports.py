"""Free loopback ports."""

import contextlib
import secrets
import socket
import sys

HOST = "127.0.0.1"
# Below 32768, because Linux takes the ports of outgoing connections from there: one of those could
# use a port between our check and the server's bind, and RabbitMQ takes 3 s to notice.
PORT_RANGE = range(21_000, 32_000)


def find_free_ports(count: int) -> list[int]:
    """Return different ports on which nothing listens at this moment."""
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        while len(ports) < count:
            port = secrets.choice(PORT_RANGE)
            sock = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                sock.bind((HOST, port))
                ports.append(port)
    return ports


def is_free(port: int) -> bool:
    """Return whether a server could listen on this port at this moment."""
    with socket.socket() as sock:
        # As servers do, so that the remains of closed connections do not count.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, port))
        except OSError:
            return False
    return True


def reserve_port(port: int) -> socket.socket:
    """Return a socket that keeps `find_free_ports`, in any process, from choosing this port.

    A server can listen there all the same, because servers set SO_REUSEADDR and `find_free_ports`
    does not. Elsewhere than on Linux it could not, so there the port is not reserved.
    """
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a program listens there, which the server will report
            sock.bind((HOST, port))
    return sock
