"""What somebody may try with the account of a part on RabbitMQ, or with its role in PostgreSQL."""

from psycopg import sql

from brokers.publisher import EXCHANGE

PARTS = ("sender", "relay", "worker-mail", "worker-rest", "dead-letter-operator", "monitor")
"""The accounts of two pools of workers, and those that there are always."""
SENDS = {"publish to the exchange of jobs", "publish to a dead queue through it"}
COLUMNS_OF = """
    SELECT attname FROM pg_attribute
     WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
     ORDER BY attnum
"""


def operations(mail, rest):
    """All kinds of operations of AMQP by name, each of a channel; on a queue of each pool."""
    direct = {"exchange_type": "direct", "durable": True}
    with_one = {
        "consume": consume,
        "get from": get,
        "purge": lambda queue: lambda ch: ch.queue_purge(queue),
        "delete": lambda queue: lambda ch: ch.queue_delete(queue),
        "unbind": lambda queue: lambda ch: ch.queue_unbind(queue, EXCHANGE, queue),
        "bind another key to": lambda queue: lambda ch: ch.queue_bind(queue, EXCHANGE, "x"),
    }
    return {
        "publish to the exchange of jobs": publish(EXCHANGE, mail),
        "publish to a dead queue through it": publish(EXCHANGE, f"{mail}.dead"),
        "publish to the default exchange": publish("", mail),
        **{f"publish to amq.{kind}": publish(f"amq.{kind}", mail) for kind in EXCHANGES},
        **{
            f"{verb} {queue}": does(queue)
            for queue in (mail, rest, f"{mail}.dead", f"{rest}.dead")
            for verb, does in with_one.items()
        },
        "declare a queue": lambda ch: ch.queue_declare("mine", durable=True),
        "declare a queue of its own connection": lambda ch: ch.queue_declare("", exclusive=True),
        "declare an exchange": lambda ch: ch.exchange_declare("mine", **direct),
        "declare the exchange of jobs": lambda ch: ch.exchange_declare(EXCHANGE, **direct),
        "delete the exchange of jobs": lambda ch: ch.exchange_delete(EXCHANGE),
        "bind an exchange to that of jobs": lambda ch: ch.exchange_bind(
            "amq.fanout", EXCHANGE, rest
        ),
        "bind that of jobs to an exchange": lambda ch: ch.exchange_bind(
            EXCHANGE, "amq.fanout", rest
        ),
    }


EXCHANGES = ("direct", "topic", "fanout", "headers")


def publish(exchange, key):
    return lambda ch: ch.basic_publish(exchange, key, b"{}", mandatory=False)


def consume(queue):
    return lambda ch: ch.basic_cancel(ch.basic_consume(queue, lambda *_: None))


def get(queue):
    def one(ch):
        method, _, _ = ch.basic_get(queue)
        if method is not None:
            ch.basic_nack(method.delivery_tag, requeue=True)

    return one


def may(mail, rest):
    """The names of the operations that each part may do."""
    return {
        "sender": SENDS,
        "relay": SENDS,
        "worker-mail": SENDS | reads(mail),
        "worker-rest": SENDS | reads(rest),
        "dead-letter-operator": SENDS | reads(f"{mail}.dead", f"{rest}.dead"),
        "monitor": set(),
    }


def reads(*queues):
    """What the one right to read a queue holds."""
    return {f"{verb} {queue}" for verb in ("consume", "get from", "purge") for queue in queues}


def columns_of(conn, table):
    """The columns that a statement may name."""
    return [name for (name,) in conn.execute(COLUMNS_OF, (table,))]


def attempts(table, columns, where="false"):
    """A statement for each right, on all columns; as it is, none of them changes a row."""
    name, every = sql.Identifier(*table.split(".")), [sql.Identifier(one) for one in columns]
    listed, where = sql.SQL(", ").join(every), sql.SQL(where)
    defaults = sql.SQL(", ").join(sql.SQL("{} = DEFAULT").format(one) for one in every)
    return {
        "r": sql.SQL("SELECT {} FROM {} LIMIT 0").format(listed, name),
        "a": sql.SQL(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE "
            "SELECT {} FROM json_populate_record(NULL::{}, '{{}}') WHERE {}"
        ).format(name, listed, listed, name, where),
        "w": sql.SQL("UPDATE {} SET {} WHERE {}").format(name, defaults, where),
        "d": sql.SQL("DELETE FROM {} WHERE {}").format(name, where),
        "truncate": sql.SQL("TRUNCATE {}").format(name),
        "trigger": sql.SQL(
            "CREATE TRIGGER mine AFTER INSERT ON {} FOR EACH STATEMENT "
            "EXECUTE FUNCTION suppress_redundant_updates_trigger()"
        ).format(name),
        "alter": sql.SQL("ALTER TABLE {} ADD COLUMN mine text").format(name),
        "drop": sql.SQL("DROP TABLE {}").format(name),
    }
