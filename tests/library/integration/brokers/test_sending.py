"""What `send` promises: confirmed, stored, or an error that says what happened."""

import dis
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from dramatiq.middleware import TimeLimitExceeded

from workshed import Queue, db, schedule
from workshed.errors import WorkshedError
from workshed.transport.amqp import topology
from workshed.transport.amqp.accounts import build_accounts
from workshed.transport.errors import (
    BrokerBlockedError,
    BrokerUnreachableError,
    InvalidArgumentError,
    InvalidOptionError,
    PublishRefusedError,
    TopologyError,
    UndeclaredQueueError,
)
from workshed.transport.messages.envelope import message_properties
from workshed.transport.publishing.publisher import ConfirmBatch

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""


@pytest.fixture
def greet(actor):
    @actor(queue_name="default")
    def greet(user_id: int, *, locale: str = "en") -> None:
        """Say hello."""

    return greet


def test_a_sent_message_is_readable_in_its_queue(actor, rabbitmq):
    @actor(queue_name="emails")
    def greet(user_id: int, *, locale: str = "en") -> None:
        """Say hello."""

    began = int(time.time() * 1000)

    message = greet.send_with_options(args=(7,), kwargs={"locale": "fr"}, broker_priority=3)

    found = rabbitmq.peek("emails")[0]
    assert json.loads(found["payload"])["args"] == [7]
    published = found["properties"]["headers"].pop("published_ms")
    assert isinstance(published, int)
    assert began <= published <= time.time() * 1000
    assert found["properties"] == {
        "message_id": message.message_id,
        "type": "greet",
        "timestamp": message.message_timestamp // 1000,
        "content_type": "application/json",
        "app_id": "workshed",
        "priority": 3,
        "delivery_mode": 2,
        "headers": {"attempt": 1, "origin": "send", "publish": 1, "outbox": True},
    }


@pytest.mark.fresh_vhost
def test_queues_are_made_as_declared(greet, broker, rabbitmq):
    broker.ensure_queues({"default", "emails"})

    queues = rabbitmq.queues()
    assert set(queues) == {"default", "default.dead", "emails", "emails.dead"}
    assert queues["default"]["arguments"]["x-queue-type"] == "quorum"
    assert queues["default"]["arguments"]["x-delivery-limit"] == -1
    assert queues["emails"]["arguments"]["x-max-priority"] == 4


def test_a_dead_letter_may_be_looked_at_any_number_of_times(greet, broker, rabbitmq, eventually):
    """With RabbitMQ's own limit it would be gone after twenty looks at it in the UI."""
    broker.ensure_queues({"default"})
    parts = f"exchanges/{rabbitmq.vhost}/workshed.jobs/publish"
    letter = {"properties": {}, "routing_key": "default.dead", "payload": "x"}
    rabbitmq.ask("POST", parts, {**letter, "payload_encoding": "string"})

    for _ in range(25):
        eventually(lambda: rabbitmq.peek("default.dead"))

    eventually(lambda: rabbitmq.depth("default.dead") == 1)


def test_high_priority_mails_leave_first(actor, peek):
    @actor(queue_name="emails")
    def mail(number):
        pass

    for priority in (0, 4, 2):
        mail.send_with_options(args=(priority,), broker_priority=priority)

    args = [m.args[0] for m in peek("emails")]
    assert args == [4, 2, 0]


@pytest.mark.fresh_vhost
@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ((), {}, "missing a required argument: 'user_id'"),
        ((1, 2), {}, "too many positional"),
        ((1,), {"local": "fr"}, "unexpected keyword argument 'local'"),
        ((float("nan"),), {}, "argument user_id: nan"),
        ((1,), {"locale": datetime.now(UTC)}, "argument locale"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(greet, rabbitmq, args, kwargs, problem):
    with pytest.raises(InvalidArgumentError, match=problem):
        greet.send(*args, **kwargs)

    assert "default" not in rabbitmq.queues()


def test_a_misspelt_option_is_refused_with_the_likely_one(greet):
    with pytest.raises(InvalidOptionError, match=r"max_retrys .*did you mean 'max_retries'"):
        greet.send_with_options(args=(1,), max_retrys=3)


@pytest.mark.parametrize(
    "options",
    [
        {"max_age": 1000},
        {"on_success": "greet"},
        {"pipe_target": {}},
        {"broker_priority": 256},
        {"max_retries": "5"},
    ],
)
def test_an_option_that_would_be_ignored_is_refused(greet, options):
    with pytest.raises(InvalidOptionError):
        greet.send_with_options(args=(1,), **options)


@pytest.mark.parametrize("option", ["max_age", "retry_when", "on_success", "notify_shutdown"])
def test_an_actor_with_an_unsupported_option_is_refused(actor, option):
    with pytest.raises(ValueError, match=option):
        actor(queue_name="default", **{option: 1})(lambda: None)


def test_an_actor_on_an_undeclared_queue_is_refused_with_the_line_to_add(actor):
    with pytest.raises(UndeclaredQueueError, match=r'did you mean \'emails\'.*Queue\("email"\)'):
        actor(queue_name="email")(lambda: None)


def test_an_own_queue_is_declared_first(broker, actor, peek):
    broker.add_queue(Queue("invoices"))

    actor(queue_name="invoices", actor_name="bill")(lambda number: None).send(1)

    assert peek("invoices")[0].actor_name == "bill"


def test_a_queue_that_was_deleted_is_made_again(greet, rabbitmq, eventually):
    greet.send(1)
    rabbitmq.ask("DELETE", f"queues/{rabbitmq.vhost}/default")

    greet.send(2)

    eventually(lambda: rabbitmq.depth("default") == 1)


@pytest.mark.usefixtures("not_storing")
def test_a_server_that_is_away_is_named_without_its_password(greet, away):
    away()

    with pytest.raises(BrokerUnreachableError, match=r"127\.0\.0\.1:9 .*'shop'.*refused") as error:
        greet.send(1)

    assert "secret" not in str(error.value)


@pytest.mark.usefixtures("not_storing")
def test_a_wrong_password_is_reported_as_such(greet, away, vhost):
    login = vhost.partition("://")[2].partition("@")[0]
    away(vhost.replace(login, "stranger:wrong"))

    with pytest.raises(BrokerUnreachableError, match="user or password refused"):
        greet.send(1)


@pytest.mark.fresh_vhost
def test_a_queue_with_other_arguments_is_refused_with_the_argument(greet, broker, rabbitmq):
    arguments = {"x-queue-type": "classic"}
    path = f"queues/{rabbitmq.vhost}/default"
    rabbitmq.ask("PUT", path, {"durable": True, "arguments": arguments})

    with pytest.raises(TopologyError, match=r"'default'.*inequivalent arg 'x-"):
        greet.send(1)


@pytest.fixture
def sender_only(broker, limited):
    """A user who may not declare, as `workshed broker definitions` makes one."""
    [sender] = [
        one for one in build_accounts(broker.declared_queues, {}, "a") if one.name == "a-sender"
    ]
    limited(sender.write)


@pytest.fixture
def blind_sender(limited):
    """A user with no right to any queue, as earlier releases made them.

    From RabbitMQ 4.3 on it cannot see whether a queue exists.
    """
    limited("^workshed.jobs$")


@pytest.mark.fresh_vhost
@pytest.mark.usefixtures("sender_only")
def test_a_user_who_may_not_declare_can_send_to_what_is_there(
    greet, broker, count_jobs, eventually
):
    greet.send(1)

    eventually(lambda: count_jobs("default")[0] == 1)
    with pytest.raises(TopologyError, match=r"'low': does not exist.*broker setup"):
        broker.ensure_queues({"low"})


@pytest.mark.usefixtures("sender_only")
def test_a_message_for_a_queue_this_user_may_not_make_is_refused(greet, rabbitmq, rows):
    check_refused(greet, rabbitmq, rows)


@pytest.mark.fresh_vhost
@pytest.mark.usefixtures("blind_sender")
def test_a_user_who_may_not_see_a_queue_can_send_to_one_that_exists(
    greet, broker, count_jobs, eventually, monkeypatch
):
    """The process asks only once, because each ask would open a connection to be refused again."""
    asked, ensure = [], topology.declare_queues
    monkeypatch.setattr(
        topology, "declare_queues", lambda *args: asked.append(args) or ensure(*args)
    )

    for number in range(3):
        greet.send(number)

    eventually(lambda: count_jobs("default")[0] == 3)
    assert len(asked) == 1
    with pytest.raises(TopologyError, match=r"'low'.*broker setup"):
        broker.ensure_queues({"low"})


@pytest.mark.usefixtures("blind_sender")
def test_a_user_who_may_not_see_a_queue_is_refused_if_it_is_missing(greet, rabbitmq, rows):
    check_refused(greet, rabbitmq, rows)


def check_refused(greet, rabbitmq, rows):
    """RabbitMQ returns a message without a queue to a user who may not make the queue."""
    greet.send(1)
    rabbitmq.ask("DELETE", f"queues/{rabbitmq.vhost}/default")

    with pytest.raises(PublishRefusedError, match=r"no queue 'default'.*broker setup") as refused:
        greet.send(2)

    assert isinstance(refused.value.__cause__, TopologyError)
    assert rows("SELECT 1 FROM workshed.schedule") == []


def test_a_delayed_message_is_a_row(greet, rows):
    greet.send_with_options(args=(7,), delay=timedelta(days=3))

    wait, reason = rows("SELECT due_at - created_at, reason FROM workshed.schedule")[0]
    assert (wait, reason) == (timedelta(days=3), "delayed")


def test_a_message_sent_in_a_transaction_commits_with_it(greet, rows):
    with db.transaction() as conn:
        schedule.send(conn, greet.message(7))
        assert rows("SELECT 1 FROM workshed.schedule") == []

    assert rows("SELECT actor, due_at <= workshed.now() FROM workshed.schedule") == [
        ("greet", True)
    ]


def test_a_message_sent_in_a_transaction_rolls_back_with_it(greet, rows):
    with db.transaction() as conn:
        schedule.send(conn, greet.message(7))
        conn.rollback()

    assert rows("SELECT 1 FROM workshed.schedule") == []


def test_a_refused_message_leaves_the_transaction_usable(greet, rows):
    with db.transaction() as conn:
        with pytest.raises(InvalidArgumentError):
            schedule.send(conn, greet.message(float("nan")))
        schedule.send(conn, greet.message(1))

    assert len(rows("SELECT 1 FROM workshed.schedule")) == 1


@pytest.mark.parametrize(
    "when",
    [
        {"at": datetime(2030, 1, 1)},  # noqa: DTZ001 -- the missing zone is the point
        {"at": datetime(2030, 1, 1, tzinfo=UTC), "delay": timedelta(1)},
    ],
)
def test_a_time_that_is_ambiguous_is_refused(greet, when):
    with db.transaction() as conn, pytest.raises(WorkshedError, match="at"):
        schedule.send(conn, greet.message(1), **when)


def test_the_same_message_is_not_stored_twice(greet):
    message = greet.message(1)

    with db.transaction() as conn:
        schedule.send(conn, message)

        with pytest.raises(psycopg.errors.UniqueViolation):
            schedule.send(conn, message)


def test_a_cancelled_message_is_gone_and_one_on_its_way_says_so(greet, rows):
    with db.transaction() as conn:
        first = schedule.send(conn, greet.message(1))
        second = schedule.send(conn, greet.message(2))
        relay = "UPDATE workshed.schedule SET claimed_by = gen_random_uuid(), claimed_at = now()"
        conn.execute(f"{relay} WHERE message_id = %s", (second.message_id,))

    with db.transaction() as conn:
        assert schedule.cancel(conn, first.message_id) == "deleted"
        assert schedule.cancel(conn, second.message_id) == "will be skipped"

    assert rows("SELECT message_id FROM workshed.schedule") == [(second.message_id,)]


@pytest.mark.fresh_vhost
def test_threads_share_one_connection(greet, rabbitmq, in_threads, eventually):
    in_threads(greet.send, range(200), threads=8)

    eventually(lambda: rabbitmq.depth("default") == 200)
    eventually(lambda: len(rabbitmq.connections()) == 1)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_sends_on_a_connection_of_its_own(greet, count_jobs, eventually):
    """Unless they forget the parent's connection, children hang or break its stream."""
    greet.send(0)

    children = []
    for number in range(3):
        pid = os.fork()
        if pid == 0:
            status = 1
            signal.alarm(20)  # without the remedy, a child hangs for ever
            try:
                for _ in range(20):
                    greet.send(number)
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    for _ in range(20):
        greet.send(9)

    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0, 0]
    eventually(lambda: count_jobs("default")[0] == 81)


@pytest.mark.rabbitmq("connections to RabbitMQ")
def test_sends_survive_lost_connections(greet, broker, peek, rows, in_threads, eventually):
    """If messages counted as sent without a confirm, some of those in flight would be lost."""
    sent, over, cuts = [], threading.Event(), []
    greet.send(0)
    link = broker._publisher._link

    def abort():
        if broker._publisher._pending:
            cuts.append(len(broker._publisher._pending))
            link._connection._transport._sock.shutdown(socket.SHUT_RDWR)

    def cut():
        while not over.wait(0.05):
            link.call_soon(abort)

    scissors = threading.Thread(target=cut)
    scissors.start()
    in_threads(lambda n: sent.append(greet.send(n).message_id), range(1_000), threads=8)
    over.set()
    scissors.join()

    assert cuts
    stored = {name for (name,) in rows("SELECT message_id FROM workshed.schedule")}

    def found():
        return {m.message_id for m in peek("default")} | stored

    eventually(lambda: found() >= set(sent))
    assert len(sent) == 1_000


@pytest.mark.rabbitmq("the thread of an AMQP connection")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket")
def test_a_failure_in_the_io_thread_does_not_end_it(greet, broker, count_jobs, eventually):
    """Unless the thread starts again, every later send of the process would wait for ever."""
    greet.send(1)

    broker._publisher._link._loop.add_callback_threadsafe(lambda: 1 / 0)
    for number in range(10):
        greet.send(number)

    eventually(lambda: count_jobs("default")[0] >= 11)
    gc.collect()  # the dropped socket's warning belongs to this test


@pytest.mark.rabbitmq("waits for a confirm")
@pytest.mark.usefixtures("not_storing")
def test_a_send_that_waits_while_the_broker_closes_fails(greet, broker, servers, in_threads):
    greet.send(1)
    link = broker._publisher._link
    held = threading.Event()
    link.call_soon(held.wait)  # the I/O thread is busy, so that nothing is sent or confirmed

    def close():
        link._closing = True
        link._loop.stop()
        held.set()

    timer = threading.Timer(0.2, close)
    timer.start()
    with pytest.raises(ExceptionGroup) as raised:
        in_threads(greet.send, [1], threads=1)

    assert raised.group_contains(BrokerUnreachableError)
    timer.join()


@pytest.mark.rabbitmq("confirms")
def test_a_message_that_cannot_be_encoded_shifts_no_confirm(greet, broker, count_jobs, eventually):
    """If it were counted, the confirm of its neighbour would settle it: a lost job."""
    broker.ensure_queues({"default"})
    ticket = ConfirmBatch()
    good, bad = greet.message(1), greet.message(2)
    for message, name in ((good, "greet"), (bad, "x" * 300), (good, "greet")):
        found = message_properties(message)
        found.type = name
        ticket.add("default", message.encode(), found)

    broker._publisher.publish(ticket, 5)

    errors = [type(publication.error) for publication in ticket.publications]
    assert errors == [type(None), PublishRefusedError, type(None)]
    eventually(lambda: count_jobs("default")[0] == 2)
    greet.send(3)


@pytest.mark.parametrize(
    ("args", "changes"),
    [({"locale": "x" * 65_536}, {}), ({}, {"message_id": "é" * 128}), ({}, {"message_id": ""})],
)
def test_a_message_that_would_not_fit_is_refused(greet, broker, args, changes):
    with pytest.raises(PublishRefusedError, match=r"at most 65536|message_id must have"):
        broker.enqueue(greet.message(1, **args).copy(**changes))


@pytest.mark.usefixtures("not_storing")
def test_a_link_that_failed_for_an_hour_connects_again(
    greet, broker, count_jobs, patience, eventually
):
    """The pause doubles with each failure, and a float overflows at 2 to the 1024th."""
    patience(20)
    greet.send(0)
    link = broker._publisher._link

    def fail():
        link._failures = 5_000
        link._connection._transport._sock.shutdown(socket.SHUT_RDWR)

    link.call_soon(fail)
    eventually(lambda: link._failures != 5_000)
    greet.send(1)

    eventually(lambda: count_jobs("default")[0] >= 2)  # or more, with a copy of one in flight


@pytest.mark.usefixtures("not_storing")
def test_a_queue_that_never_confirms_makes_room_for_others(greet, broker, patience):
    """Kept in the window for ever, its messages would stop every other queue."""
    greet.send(0)
    patience(0.1)
    broker._publisher._link.call_soon(broker._publisher._channel.callbacks.clear)

    for number in range(5):
        with pytest.raises(BrokerUnreachableError, match="a copy may have arrived"):
            greet.send(number)

    assert not broker._publisher._pending


@pytest.mark.usefixtures("not_storing")
def test_while_rabbitmq_is_blocked_nothing_more_is_sent(greet, blocked, peek, patience):
    """A message that `send` reported as not sent must not arrive when the alarm is over."""
    greet.send(0)
    patience(0.5)
    with blocked():
        for number in (1, 2, 3):
            with pytest.raises(BrokerBlockedError, match="nothing was sent"):
                greet.send(number)

    patience(5)
    greet.send(5)
    args = [m.args[0] for m in peek("default")]
    assert set(args) == {0, 5}


@pytest.mark.rabbitmq("the lock for making queues")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_while_another_thread_makes_queues_can_send(greet, broker):
    """The lock is held by a thread that the child does not have, and so for ever."""
    with broker._declarer._lock:
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            status = 1
            try:
                greet.send(1)
                status = 0
            finally:
                os._exit(status)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize("options", [{"max_retries": None}, {"min_backoff": -1}])
def test_a_number_that_would_break_the_first_retry_is_refused(actor, options):
    with pytest.raises(ValueError, match="is not a whole number from 0"):
        actor(queue_name="default", **options)(lambda: None)


# After these, CPython raises an exception that another thread has set for this one.
STRIKES = ("RESUME", "JUMP_BACKWARD", "CALL", "CALL_FUNCTION_EX", "CALL_KW")


def strike(number, work):
    """Raise `TimeLimitExceeded` in `work` at the `number`-th place; False if there are fewer."""
    left, last = number, {}

    def trace(frame, event, _):
        nonlocal left
        if frame.f_code.co_name == "_remove":  # of a weak set, which swallows what is raised there
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= last.get(frame) in STRIKES
            last[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            if left < 0:
                raise TimeLimitExceeded
        return trace

    gc.disable()  # a finalizer would swallow it, and the count of places would end there
    sys.settrace(trace)
    try:
        work()
    except TimeLimitExceeded:
        return True
    finally:
        sys.settrace(None)
        gc.enable()
    return False


@pytest.mark.filterwarnings("ignore:.*coroutine .* was never awaited")
def test_wherever_a_time_limit_strikes_a_sender_others_go_on(greet, broker, patience):
    """With `threading.Event` in a ticket, the I/O thread would wait for a lock without an owner."""
    greet.send(0)
    patience(10)
    broker._sender.has_fallback = False

    def strike_everywhere():
        number = 0
        while strike(number, lambda: greet.send(1)):
            greet.send(2)
            number += 1
        return number

    # If an exception handler is interrupted, CPython leaves its exception behind in the thread.
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(strike_everywhere).result() > 100


AT_EXIT = """
import atexit, sys, threading
import dramatiq
from workshed import broker

@dramatiq.actor(broker=broker, queue_name=sys.argv[1], actor_name="late")
def late(number): ...

for _ in range(int(sys.argv[2])):
    late.send(1)
# Python aborts if it ends while a daemon thread writes, and a failed `send` writes a traceback.
threading.excepthook = lambda _: None
threading.Thread(target=lambda: [late.send(2) for _ in range(100_000)], daemon=True).start()
atexit.register(late.send, 3)
"""


@pytest.mark.sample(2)
@pytest.mark.parametrize("queue", ["default", "emails"])
@pytest.mark.parametrize("before", [0, 1])
def test_a_program_that_sends_while_it_exits_does_exit(broker, peek, queue, before):
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT, queue, str(before)],
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    sent = [list(m.args) for m in peek(queue)]
    # From Python 3.12 on nothing new can be opened at that time.
    could_not_open = before == 0 and "at interpreter shutdown" in done.stderr
    assert [3] in sent or could_not_open, done.stderr


LATE_JOBS = """
import dramatiq
from workshed import broker

@dramatiq.actor(broker=broker, queue_name="default", actor_name="late")
def late(number): ...
"""
IN_DEL = """
import sys
from late_jobs import broker, late

class Sends:
    def __del__(self, late=late, broker=broker, print=print):
        for send in (
            lambda: late.send(2),
            lambda: late.send_with_options(args=(3,), delay=60_000),
            lambda: broker.enqueue_many([late.message(4)]),
            lambda: broker.send_async(late.message(5)).send(None),
        ):
            try:
                send()
            except Exception as err:
                print(type(err).__name__, err, flush=True)

for _ in range(int(sys.argv[1])):
    late.send(1)
last = Sends()
"""


@pytest.mark.parametrize("before", [0, 1])
def test_an_object_that_sends_as_the_interpreter_exits_gets_an_error(
    broker, peek, tmp_path, before
):
    """The thread that would send is gone: the send waited for ever, or died by SIGSEGV on 3.13."""
    (tmp_path / "late_jobs.py").write_text(LATE_JOBS)
    (tmp_path / "ends.py").write_text(IN_DEL)

    done = subprocess.run(
        [sys.executable, str(tmp_path / "ends.py"), str(before)],
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    error = (
        "BrokerUnreachableError the interpreter is shutting down; nothing was sent. "
        "Send in a function that you register with atexit instead of in __del__"
    )
    assert done.stdout.splitlines() == [error] * 4, done.stderr
    sent = [list(m.args) for m in peek("default")]
    assert sent == [[1]] * before
