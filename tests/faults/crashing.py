"""A process that forks senders, relays or workers, each of which is killed at one line.

`python crashing.py ROLE SEED FIRST POINT …` starts one for each point in turn, and finally one that
keeps running; `crashes-FIRST` lists the points at which they ended. The lines are those of
`test_every_line.py`: when this file imports them, each is patched to call `here` with the name of
its point.
"""

import itertools
import os
import random
import signal
import sys
import threading
from pathlib import Path

sys.modules.setdefault("crashing", sys.modules["__main__"])  # the patched lines import it

PASSES = {"sender": (3, 20), "relay": (1, 3), "worker": (20, 40)}
"""How often (least, most) a process passes a point before it ends there.

A worker passes it often enough to finish the jobs of its predecessor; otherwise these would be
taken for poison.
"""


class Fate:
    """Where this process will end."""

    point = ""
    left = 0
    notes = Path()
    lock = threading.Lock()


def here(point):
    """Kill this process if this is its point and it was passed often enough."""
    if point != Fate.point:
        return
    with Fate.lock:
        Fate.left -= 1
        if Fate.left == 0:
            with Fate.notes.open("a") as notes:
                notes.write(f"{point}\n")
            os.kill(os.getpid(), signal.SIGKILL)


def send(first):
    """Send until killed; each send is noted in its transaction, or before and after it."""
    from dramatiq import Message  # noqa: PLC0415 -- as the next: the patches are in place by now

    from workshed import db  # noqa: PLC0415
    from workshed.transport import broker, schedule  # noqa: PLC0415

    kinds = ("plain", "once", "retried", "mailed")

    def note(conn, table, kind, number):
        conn.execute(f"INSERT INTO {table} VALUES (%s, %s)", (kind, number))  # noqa: S608 -- ours

    for number in itertools.count(first) if Fate.point else ():
        kind = kinds[number % 4]
        message = Message("letters" if kind == "mailed" else "parts", kind, (number,), {}, {})
        if number // 4 % 2:
            with db.transaction() as conn:
                schedule.send(conn, message)
                note(conn, "sends", kind, number)
        else:
            with db.transaction() as conn:
                note(conn, "tries", kind, number)
            broker.enqueue(message)
            with db.transaction() as conn:
                note(conn, "sends", kind, number)


def relay(_first):
    """Run a relay."""
    from workshed.transport.relay.relay import main  # noqa: PLC0415 -- patched by now

    sys.argv[1:] = []
    main()


def work(_first):
    """Run what `dramatiq load -p 1 -t 4` does."""
    from dramatiq import cli  # noqa: PLC0415 -- as the others

    cli.main(cli.make_argument_parser().parse_args(["load", "-p", "1", "-t", "4"]))


RUN = {"sender": send, "relay": relay, "worker": work}


def main(role, seed, first, points):
    """Fork a process for each point."""
    import load  # noqa: F401, PLC0415 -- once for all that are forked

    from workshed.transport.relay import relay as _  # noqa: F401, PLC0415 -- likewise

    Fate.notes = Path(f"crashes-{first}")
    Fate.notes.touch()
    for turn in itertools.count():
        ended = len(Fate.notes.read_text().splitlines())
        pid = os.fork()
        if pid == 0:
            random.seed(seed + turn)
            if ended < len(points):
                Fate.point, Fate.left = points[ended], random.randint(*PASSES[role])  # noqa: S311
            RUN[role](first + turn * 100_000)
            os._exit(0)
        os.waitpid(pid, 0)
        if ended == len(points):
            break


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
