"""The queues and actors that workers have declared, and which queues are paused."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from workshed.database.postgres import Connection, class_row, to_jsonb
from workshed.value_class import value_class


@value_class
class KnownQueue:
    """A row of `workshed.queues`."""

    name: str
    kind: str
    paused_at: datetime | None


@value_class
class KnownActor:
    """A row of `workshed.actors`: an actor as programs that do not import it see it."""

    name: str
    queue: str
    has_key: bool = False
    """Its jobs have a unique key from their send on, which is computed in Python."""
    parameters: Sequence[str] = ()
    """Its positional parameters, in order."""
    redact: Sequence[str] = ()
    """The parameters whose values are hidden."""
    arguments: Mapping[str, Any] | None = None
    """Names, presence and JSON types of its arguments, for `workshed.send`; `None`: unknown."""
    arguments_version: int = 1
    """The version of its arguments."""


def declare_queues(conn: Connection, kinds: Mapping[str, str]) -> None:
    """Store queues by name, each `quorum` or `classic`."""
    query = """
        INSERT INTO workshed.queues AS q (name, kind)
        SELECT * FROM unnest(%s::text[], %s::text[])
         ORDER BY 1  -- all processes lock in one order
        ON CONFLICT (name) DO UPDATE SET kind = EXCLUDED.kind, seen_at = workshed.now()
    """
    conn.execute(query, (list(kinds), list(kinds.values())))


def declare_actors(conn: Connection, actors: Collection[KnownActor]) -> None:
    """Store the actors of a program."""
    query = """
        INSERT INTO workshed.actors
               (name, queue, has_key, parameters, redact, arguments, arguments_version,
                arguments_seen_at)
        SELECT name, queue, has_key, parameters, redact, NULLIF(arguments, 'null'),
               arguments_version, workshed.now()
          FROM jsonb_to_recordset(%s)
            AS a (name text, queue text, has_key bool, parameters text[], redact text[],
                  arguments jsonb, arguments_version int)
         ORDER BY 1  -- all processes lock in one order
        ON CONFLICT (name) DO UPDATE
           SET queue = EXCLUDED.queue, has_key = EXCLUDED.has_key,
               parameters = EXCLUDED.parameters, redact = EXCLUDED.redact,
               arguments = EXCLUDED.arguments, arguments_version = EXCLUDED.arguments_version,
               arguments_seen_at = EXCLUDED.arguments_seen_at, seen_at = EXCLUDED.seen_at,
               once_unused_at = NULL  -- the program may have changed
    """
    conn.execute(query, (to_jsonb([asdict(actor) for actor in actors]),))


def list_actors(conn: Connection) -> list[KnownActor]:
    """Return the actors that any worker has declared, in order of name."""
    query = "SELECT name, queue, has_key, parameters, redact FROM workshed.actors ORDER BY name"
    with conn.cursor(row_factory=class_row(KnownActor)) as cur:
        return cur.execute(query).fetchall()


def note_unused_once(conn: Connection, actor: str) -> None:
    """Note that a job of an actor with `once=True` has ended without using its transaction."""
    query = "UPDATE workshed.actors SET once_unused_at = workshed.now() WHERE name = %s"
    conn.execute(query, (actor,))


def list_unused_once(conn: Connection, within: timedelta) -> list[str]:
    """Return the actors of which that was noted lately, in order of name."""
    query = """
        SELECT name FROM workshed.actors
         WHERE once_unused_at > workshed.now() - %s
         ORDER BY 1
    """
    return [name for (name,) in conn.execute(query, (within,))]


def pause_queue(conn: Connection, name: str) -> bool:
    """Stop workers from starting jobs of a queue (within 2 s); False if it is unknown."""
    query = (
        "UPDATE workshed.queues SET paused_at = COALESCE(paused_at, workshed.now()) WHERE name = %s"
    )
    return conn.execute(query, (name,)).rowcount > 0


def resume_queue(conn: Connection, name: str) -> bool:
    """Let workers start its jobs again; False if the queue is unknown."""
    return (
        conn.execute(
            "UPDATE workshed.queues SET paused_at = NULL WHERE name = %s", (name,)
        ).rowcount
        > 0
    )


def list_paused(conn: Connection) -> frozenset[str]:
    """Return the names of the paused queues."""
    rows = conn.execute("SELECT name FROM workshed.queues WHERE paused_at IS NOT NULL")
    return frozenset(name for (name,) in rows)


def list_queues(conn: Connection) -> list[KnownQueue]:
    """Return the known queues in order of name."""
    query = "SELECT name, kind, paused_at FROM workshed.queues ORDER BY name"
    with conn.cursor(row_factory=class_row(KnownQueue)) as cur:
        return cur.execute(query).fetchall()
