"""An operator deletes or changes queues, exchange and vhost while jobs are sent and run."""

import contextlib
import threading
from collections import Counter
from pathlib import Path

import pytest
from dramatiq import Message

from tests.faults.conftest import Emptied
from tests.faults.experiment import Remedy, Result, experiment
from workshed import db, schedule
from workshed.errors import WorkshedError

PROGRAM = (Path(__file__).parent / "drifting.py").read_text()
RESEND_AFTER_S = 5
QUEUES = {"counted": "default", "mailed": "emails"}
OTHERWISE = {"durable": True, "arguments": {"x-queue-type": "classic", "x-max-length": 5}}
"""Arguments that no release uses for a queue."""
EFFECTS = "SELECT kind, number FROM effects"
WAITING = "SELECT message_id FROM workshed.schedule WHERE claimed_by IS NULL"
LEFT = (
    "SELECT (SELECT count(*) FROM workshed.schedule) + (SELECT count(*) "
    "FROM workshed.redelivered_starts)"
)


class Sender:
    """Sends jobs of both kinds in a thread, directly and in transactions, until the block ends."""

    def __init__(self, broker, rows, pause_s):
        self._broker = broker
        self._rows = rows
        self._pause_s = pause_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ids = {}
        self.directly = True
        """Otherwise only in transactions."""
        self.begun = 0
        self.sent, self.refused = set(), set()
        self.deleted = set()
        """Jobs in a quorum queue when it was deleted, and their messages with it."""

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _run(self):
        while not self._over.wait(self._pause_s):
            number = self.begun
            kind = "mailed" if number % 3 == 2 else "counted"
            message = Message(QUEUES[kind], kind, (number,), {}, {})
            self._ids[message.message_id] = kind, number
            self.begun += 1
            try:
                if self.directly and number % 2:
                    self._broker.enqueue(message)
                else:
                    with db.transaction() as conn:
                        schedule.send(conn, message)
                self.sent.add((kind, number))
            except WorkshedError:  # the message may have arrived
                self.refused.add((kind, number))

    def note_deleted(self):
        """Record the jobs whose messages are gone; those with an unclaimed row are not."""
        begun = self.begun
        rows = {self._ids.get(message_id) for (message_id,) in self._rows(WAITING)}
        jobs = {(kind, number) for kind, number in self._ids.values() if number <= begun}
        self.deleted |= {job for job in jobs if job[0] == "counted"} - rows


@pytest.fixture
def rows(connect):
    conn = connect(autocommit=True)
    conn.execute("CREATE TABLE public.effects (kind text, number integer)")
    return lambda query: conn.execute(query).fetchall()


@pytest.fixture
def start_one(rows, tmp_path, start_worker):
    (tmp_path / "drifting.py").write_text(PROGRAM)
    env = {"WORKSHED_CLASSIC_QUEUE_RESEND_AFTER": str(RESEND_AFTER_S)}
    return lambda **words: start_worker("drifting", threads=4, env=env, **words)


class Operator:
    """Deletes and changes RabbitMQ's topology through its management API."""

    def __init__(self, api):
        self._api = api

    def _ask(self, method, path, body=None):
        try:
            self._api.ask(method, f"{path.replace('%v', self._api.vhost)}", body)
        except AssertionError:  # it does not exist, or was made again meanwhile
            return False
        return True

    def delete_queues(self):
        for name in QUEUES.values():
            self._ask("DELETE", f"queues/%v/{name}")

    def change_arguments(self):
        self._ask("DELETE", "queues/%v/default")
        return self._ask("PUT", "queues/%v/default", OTHERWISE)

    def delete_bindings(self):
        for name in QUEUES.values():
            self._ask("DELETE", f"bindings/%v/e/workshed.jobs/q/{name}/{name}")

    def delete_exchange(self):
        self._ask("DELETE", "exchanges/%v/workshed.jobs")

    def reset_vhost(self):
        self._ask("DELETE", "vhosts/%v")
        self._ask("PUT", "vhosts/%v", {})


@pytest.mark.timeout(900)
@experiment(
    "topology-drift",
    number=20,
    fails_by="stuck",
    fault="queues are deleted, recreated with other arguments, and unbound; the exchange is "
    "deleted; the virtual host is deleted and recreated empty",
    load="jobs that are sent continuously. Two kinds must run: those sent to a queue that "
    "exists, and those with a row, as every job of a classic queue has until it ends. A message "
    "in a quorum queue is lost with its queue",
    remedy=Remedy(
        "workshed/transport/relay/relay.py",
        "        if known := lost & set(self._declared_queues):",
        "        if known := set[str]():",
    ),
)
def test_missing_queues_and_exchanges_are_made_again(
    broker, rows, rabbitmq, start_one, judged, quiet, scale, eventually
):
    """A changed queue is refused at boot; jobs sent meanwhile run once that queue is deleted."""
    operator = Operator(rabbitmq)
    start_one()

    def effects():
        return {(kind, number) for kind, number in rows(EFFECTS)}

    def left():
        waiting = sum(queue.get("messages", 0) for queue in rabbitmq.queues().values())
        return rows(LEFT)[0][0] + waiting

    def flows():
        """Wait until jobs of each kind that are sent from now on run."""
        since = sender.begun + 1
        kinds = {"counted", "mailed"}
        with contextlib.suppress(AssertionError):  # missing jobs are counted
            eventually(lambda: {kind for kind, n in effects() if n > since} == kinds, within_s=40)

    with Sender(broker, rows, 0.05) as sender:
        for _ in range(scale(10)):
            flows()
            operator.delete_queues()
            sender.note_deleted()
            flows()
            operator.reset_vhost()
            sender.note_deleted()
            flows()
            operator.delete_exchange()
            flows()
        eventually(operator.change_arguments, within_s=30)
        late = start_one(ready=False)
        eventually(lambda: late.process.poll() is not None, within_s=60)
        rabbitmq.ask("DELETE", f"queues/{rabbitmq.vhost}/default")
        sender.note_deleted()
        flows()
        sender.directly = False  # from now on only the relay publishes
        since = sender.begun + 1
        eventually(lambda: sender.begun > since, within_s=30)
        operator.delete_bindings()
        with contextlib.suppress(AssertionError):
            since = sender.begun + 1
            eventually(lambda: any(n > since for _, n in effects()), within_s=20)

    judged.all_sent()
    quiet(Emptied(left), lambda: (left(), len(effects())), within_s=120)
    ran = Counter(rows(EFFECTS))
    promised = sender.sent - sender.deleted
    judged(
        Result(
            lost=len(promised - ran.keys()),
            ghost=len(ran.keys() - sender.sent - sender.refused),
            duplicated=ran.total() - len(ran),
            stuck=left(),
            notes={
                "sent": len(sender.sent),
                "refused with an error": len(sender.refused),
                "promised": len(promised),
                "lost with their queue": len(sender.sent & sender.deleted - ran.keys()),
            },
        )
    )
    assert late.process.returncode == 2, late.text()
    assert "exists with other arguments" in late.text()
