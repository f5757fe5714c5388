"""Operations to try with each part's RabbitMQ account and with each PostgreSQL role."""

import itertools

import pika
from psycopg import sql

from workshed.transport.amqp import replies, topology
from workshed.transport.amqp.arguments import EXCHANGE
from workshed.transport.amqp.arguments import queue_arguments as declared

POOLS = ("worker-mail", "worker-rest")
ALWAYS = ("sender", "relay", "dead-letter-operator", "monitor")
PARTS = ("worker", *POOLS, *ALWAYS)
"""The account of all workers, those of two worker pools, and those that always exist."""
ANOTHER_USER = "publish as another user"
COLUMNS_OF = """
    SELECT attname FROM pg_attribute
     WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
     ORDER BY attnum
"""


def operations(mail, rest):
    """All kinds of AMQP operations by name, on a queue of each pool; functions of a channel."""
    direct = {"exchange_type": "direct", "durable": True}
    with_one = {
        "consume": consume,
        "get from": get,
        "purge": lambda queue: lambda ch: ch.queue_purge(queue),
        "publish to": lambda queue: publish(EXCHANGE, queue),
        "publish by the default exchange to": lambda queue: publish("", queue),
        "declare otherwise": lambda queue: declare(queue, {"x-max-length": 1}),
        "delete": lambda queue: lambda ch: ch.queue_delete(queue),
        "unbind": lambda queue: lambda ch: ch.queue_unbind(queue, EXCHANGE, queue),
        "bind another key to": lambda queue: lambda ch: ch.queue_bind(queue, EXCHANGE, "x"),
        "bind amq.fanout to": lambda queue: lambda ch: ch.queue_bind(queue, "amq.fanout"),
        "unbind amq.fanout from": lambda queue: lambda ch: ch.queue_unbind(queue, "amq.fanout"),
    }
    with_two = {
        "bind": lambda to, source: lambda ch: ch.exchange_bind(to, source, rest.name),
        "unbind": lambda to, source: lambda ch: ch.exchange_unbind(to, source, rest.name),
    }
    return {
        **{
            f"{verb} {queue}": does(queue)
            for queue in names(mail, rest)
            for verb, does in with_one.items()
        },
        **{
            f"declare {queue} again": declare(queue, arguments)
            for one in (mail, rest)
            for queue, arguments in topology.queue_and_dead_letter(one, declared(one)).items()
        },
        ANOTHER_USER: publish(EXCHANGE, mail.name, user_id="guest"),
        "declare a queue": declare("mine"),
        "declare a queue of its own connection": lambda ch: ch.queue_declare("", exclusive=True),
        "declare an exchange": lambda ch: ch.exchange_declare("mine", **direct),
        "declare the exchange of jobs": lambda ch: ch.exchange_declare(EXCHANGE, **direct),
        "declare the exchange of jobs otherwise": lambda ch: ch.exchange_declare(EXCHANGE, "topic"),
        "delete the exchange of jobs": lambda ch: ch.exchange_delete(EXCHANGE),
        **{
            f"{verb} {to} and {source}": does(to, source)
            for to, source in itertools.permutations((EXCHANGE, "amq.fanout", "amq.direct"), 2)
            for verb, does in with_two.items()
        },
        **{f"publish to amq.{kind}": publish(f"amq.{kind}", mail.name) for kind in EXCHANGES},
        **{f"delete amq.{kind}": delete_exchange(f"amq.{kind}") for kind in EXCHANGES},
    }


EXCHANGES = ("direct", "topic", "fanout", "headers")


def names(*queues):
    """Return the names of queues and of their dead queues."""
    return [*(one.name for one in queues), *(one.dead_name for one in queues)]


def declare(queue, arguments=None):
    return lambda ch: ch.queue_declare(queue, durable=True, arguments=arguments)


def publish(exchange, key, **properties):
    said = pika.BasicProperties(**properties)
    return lambda ch: ch.basic_publish(exchange, key, b"{}", said, mandatory=False)


def delete_exchange(name):
    return lambda ch: ch.exchange_delete(name)


def consume(queue):
    return lambda ch: ch.basic_cancel(ch.basic_consume(queue, lambda *_: None))


def get(queue):
    def one(ch):
        method, _, _ = ch.basic_get(queue)
        if method is not None:
            ch.basic_nack(method.delivery_tag, requeue=True)

    return one


def may(mail, rest):
    """Return the names of the operations that each part is permitted."""
    sends = {f"publish to {queue}" for queue in names(mail, rest)}
    return {
        "sender": sends,
        "relay": sends,
        "worker": sends | reads(mail.name, rest.name),
        "worker-mail": sends | reads(mail.name),
        "worker-rest": sends | reads(rest.name),
        "dead-letter-operator": sends | reads(mail.dead_name, rest.dead_name),
        "monitor": set(),
    }


def reads(*queues):
    """Return the operations that the permission to read a queue includes."""
    return {f"{verb} {queue}" for verb in ("consume", "get from", "purge") for queue in queues}


def refusal(part, operation):
    """Return RabbitMQ's error code; it checks the `user_id` after the permission to publish."""
    is_sender = operation == ANOTHER_USER and part != "monitor"
    return replies.PRECONDITION_FAILED if is_sender else replies.ACCESS_REFUSED


def columns_of(conn, table):
    """Return the columns that a statement may name."""
    return [name for (name,) in conn.execute(COLUMNS_OF, (table,))]


def attempts(table, columns, condition="false"):
    """Return a statement for each right, on all columns; by default none of them changes a row."""
    name, every = sql.Identifier(*table.split(".")), [sql.Identifier(one) for one in columns]
    listed, condition = sql.SQL(", ").join(every), sql.SQL(condition)
    defaults = sql.SQL(", ").join(sql.SQL("{} = DEFAULT").format(one) for one in every)
    return {
        "r": sql.SQL("SELECT {} FROM {} LIMIT 0").format(listed, name),
        "a": sql.SQL(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE "
            "SELECT {} FROM json_populate_record(NULL::{}, '{{}}') WHERE {}"
        ).format(name, listed, listed, name, condition),
        "w": sql.SQL("UPDATE {} SET {} WHERE {}").format(name, defaults, condition),
        "d": sql.SQL("DELETE FROM {} WHERE {}").format(name, condition),
        "truncate": sql.SQL("TRUNCATE {}").format(name),
        "trigger": sql.SQL(
            "CREATE TRIGGER mine AFTER INSERT ON {} FOR EACH STATEMENT "
            "EXECUTE FUNCTION suppress_redundant_updates_trigger()"
        ).format(name),
        "alter": sql.SQL("ALTER TABLE {} ADD COLUMN mine text").format(name),
        "drop": sql.SQL("DROP TABLE {}").format(name),
    }
