"""`/livez` in an outage that lasts longer than a process may stand still.

The servers hang for every client, because a client waits much longer for a server that hangs than
for one that is not there. It is one test, because each would take as long.
"""

import contextlib
import os
import signal
import time

import pytest

from tests.library.e2e.workers.supervised import Supervised, ask
from workshed.health.probes import STUCK_S

OK = (200, "ok\n")
LOOK_S = 1.0
OUTAGE_S = STUCK_S + 15
PAGE_BYTES = 4096


class Piped(Supervised):
    """Its log is a pipe, as a container's is, whose reader may stand still."""

    def __init__(self, options, environment, log, command="worker"):
        os.mkfifo(log)
        self._pipe = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
        self._text = b""
        self._reads = True
        super().__init__(options, environment, log, command)

    def text(self):
        with contextlib.suppress(BlockingIOError):
            while self._reads and (more := os.read(self._pipe, 1 << 16)):
                self._text += more
        return self._text.decode()

    def clog(self):
        """Stop reading, and fill the pipe, so that any process that writes a line stands still."""
        self._reads = False
        full = os.open(self.log, os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while os.write(full, bytes(PAGE_BYTES)):
                pass
        os.close(full)

    def unclog(self):
        """Go on reading."""
        self._reads = True

    def end(self):
        super().end()
        os.close(self._pipe)


@pytest.fixture
def start_relay(environment, broker, through, tmp_path):
    """`start_relay()`: `workshed relay`, alone."""
    relays = []

    def start(kind=Supervised):
        log = tmp_path / f"relay-{len(relays)}.log"
        relays.append(kind([], {**environment, **through}, log, command="relay"))
        return relays[-1]

    yield start
    for one in relays:
        one.end()


@pytest.fixture
def is_ready(eventually):
    """`is_ready(workers)`: wait until it is ready; its log is read meanwhile."""
    return lambda one: eventually(lambda: one.text() and ask(one, "/readyz") == OK)


def said_by(programs, *, for_s):
    """Ask each program over and over whether it lives; return its answers, and when they came."""
    began = time.monotonic()
    answers = {name: [] for name in programs}
    while time.monotonic() - began < for_s:
        for name, one in programs.items():
            answers[name].append((time.monotonic() - began, ask(one, "/livez")))
        time.sleep(LOOK_S)
    return answers


@pytest.mark.exhaustive
@pytest.mark.timeout(600)
def test_only_what_stands_still_by_itself_is_not_alive(
    supervise, start_relay, is_ready, wires, through, send, ended, eventually
):
    """A restart would bring no server back: processes that wait for one are alive, even at boot.

    A worker that is frozen, as on a host without memory, is not alive. Neither is a relay that
    cannot write its log, because nothing reads it any more.
    """
    frozen = supervise("--no-relay", processes=1, exporter=True)
    (pid,) = frozen.workers()
    workers = supervise(processes=1, exporter=True, env=through)
    relay, clogged = start_relay(), start_relay(Piped)
    for one in (workers, relay, clogged):
        is_ready(one)

    for wire in wires:
        wire.stall()
    os.kill(pid, signal.SIGSTOP)
    clogged.clog()
    alive = {
        "workers": workers,
        "relay": relay,
        "workers that boot": supervise(processes=1, exporter=True, env=through, up=False),
        "relay that boots": start_relay(),
    }
    dead = {f"worker {pid}": frozen, f"relay {clogged.process.pid}": clogged}
    answers = said_by(alive | dead, for_s=OUTAGE_S)

    for name in alive:
        statuses = [answer for _, answer in answers[name]]
        boot = statuses.index(OK) if "boot" in name else 0
        assert set(statuses[:boot]) <= {None}, name
        assert set(statuses[boot:]) == {OK}, name
    for name in dead:
        assert {answer for at, answer in answers[name] if at < STUCK_S / 2} == {OK}, name
        (status, text) = answers[name][-1][1]
        assert (status, text.partition(" for ")[0]) == (503, f"{name} is stuck: no report")

    for wire in wires:
        wire.resume()
    clogged.unclog()
    for one in (*alive.values(), clogged):
        is_ready(one)
    send("make", 1)
    eventually(lambda: ended() == {1})
