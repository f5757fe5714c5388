"""Erase a person's data from the records of jobs that ended."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, LiteralString

import orjson

from workshed.database.postgres import Connection, to_jsonb
from workshed.jobs.control import queues
from workshed.jobs.control.queues import KnownActor
from workshed.jobs.dead import dead_jobs as dead
from workshed.value_class import value_class

ERASED = "[erased]"


@value_class
class ErasureTarget:
    """The jobs that are about a person: those that match any of the first three that is given."""

    text: str | None = None
    """Occurs in an argument, a tag, or an error's text."""
    argument: tuple[str, Any] | None = None
    """Name and value of an argument, exactly."""
    tag: str | None = None
    actor: str | None = None
    """Of this actor only."""


@value_class
class ErasureCounts:
    """How many rows contain the data; waiting jobs are kept, because they have yet to run."""

    runs: int
    attempts: int
    dead: int
    waiting: int


def count_erasable(conn: Connection, target: ErasureTarget) -> ErasureCounts:
    """Count what `erase_person` would erase, and waiting jobs; changes nothing."""
    with conn.transaction(force_rollback=True):
        return erase_person(conn, target)


def erase_person(conn: Connection, target: ErasureTarget) -> ErasureCounts:
    """Erase a person's data in the caller's transaction; return how many rows were affected.

    Runs and attempts keep the fields that say nothing about the person: time, place, duration and
    outcome. Dead jobs are discarded, because without their arguments they could not run again.
    Stored results are deleted; they are not counted.
    """
    of_dead = list(
        _find_messages(conn, target, "SELECT message_id, actor, body, reason FROM workshed.dead")
    )
    for message_id in of_dead:
        dead.discard_job(conn, message_id, ERASED)
    values = {
        "actor": target.actor,
        "tag": target.tag,
        "argument": None if target.argument is None else to_jsonb(dict([target.argument])),
        "text": target.text,
        "quoted": None if target.text is None else _quote_json(target.text),
        "ids": of_dead,
        "erased": ERASED,
    }
    of_runs = """
        UPDATE workshed.runs
           SET arguments = NULL, reason = %(erased)s, error = NULL, traceback = NULL, tags = '{}'
         WHERE (%(actor)s::text IS NULL OR actor = %(actor)s)
           AND reason <> %(erased)s
           AND (message_id = ANY (%(ids)s)
                OR %(tag)s::text = ANY (tags)
                OR arguments::jsonb @> %(argument)s::jsonb
                OR position(%(quoted)s::text IN arguments::text) > 0
                OR position(%(text)s::text IN concat_ws(
                       ' ', reason, error, traceback, array_to_string(tags, ' '))) > 0)
        RETURNING message_id
    """
    of_attempts = """
        UPDATE workshed.attempts
           SET reason = %(erased)s, error = NULL, traceback = NULL
         WHERE (%(actor)s::text IS NULL OR actor = %(actor)s)
           AND reason <> %(erased)s
           AND (message_id = ANY (%(ids)s)
                OR position(%(text)s::text IN concat_ws(' ', reason, error, traceback)) > 0)
    """
    ids = [message_id for (message_id,) in conn.execute(of_runs, values)]
    attempts = conn.execute(of_attempts, {**values, "ids": [*of_dead, *ids]}).rowcount
    _delete_results(conn, target, [*of_dead, *ids])
    waiting = _find_messages(
        conn, target, "SELECT message_id, actor, body, '' FROM workshed.schedule"
    )
    return ErasureCounts(len(ids), attempts, len(of_dead), len(set(waiting)))


def _delete_results(conn: Connection, target: ErasureTarget, ids: list[str]) -> None:
    """Delete the results of these jobs, and those that contain the text; keys end with the ID."""
    query = """
        DELETE FROM workshed.results
         WHERE split_part(key, ':', -1) = ANY (%(ids)s)
            OR ((%(actor)s::text IS NULL
                 OR position(convert_to(%(actor)s::text, 'UTF8') IN body) > 0
                 OR position(%(actor)s::text IN key) > 0)
                AND (position(convert_to(%(quoted)s::text, 'UTF8') IN body) > 0
                     OR position(convert_to(%(escaped)s::text, 'UTF8') IN body) > 0))
    """
    text = target.text
    values = {
        "ids": ids,
        "actor": target.actor,
        "quoted": None if text is None else _quote_json(text),
        "escaped": None if text is None else json.dumps(text)[1:-1],
    }
    conn.execute(query, values)


def _find_messages(conn: Connection, target: ErasureTarget, query: LiteralString) -> Iterator[str]:
    """Yield the IDs of messages about the person; bodies are searched in Python, one by one."""
    actors = {actor.name: actor for actor in queues.list_actors(conn)}
    for message_id, name, body, reason in conn.execute(query).fetchall():
        if target.actor not in (None, name):
            continue
        raw = body.encode() if isinstance(body, str) else bytes(body)
        if _contains_text(target, raw, reason) or _has_argument_or_tag(
            target, raw, actors.get(name)
        ):
            yield message_id


def _contains_text(target: ErasureTarget, body: bytes, reason: str) -> bool:
    if target.text is None:
        return False
    escaped = json.dumps(target.text)[1:-1]
    return target.text in reason or any(
        text.encode() in body for text in (target.text, _quote_json(target.text), escaped)
    )


def _has_argument_or_tag(target: ErasureTarget, body: bytes, actor: KnownActor | None) -> bool:
    """Return whether a message has the argument or tag of the target."""
    if target.argument is None and target.tag is None:
        return False
    try:
        fields: Mapping[str, Any] = orjson.loads(body)
        parameters = () if actor is None else actor.parameters
        named = {**dict(zip(parameters, fields["args"], strict=False)), **fields["kwargs"]}
        tags = fields["options"].get("tags", ())
    except (ValueError, TypeError, KeyError, AttributeError):
        return False  # the body is not a readable message
    if target.tag is not None and target.tag in tags:
        return True
    return target.argument is not None and target.argument in named.items()


def _quote_json(text: str) -> str:
    """Return a text as it appears in the JSON that PostgreSQL and orjson write."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
