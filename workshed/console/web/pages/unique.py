"""Unique: the keys of unique jobs and their holders; release a key whose job is lost."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from workshed.console.operations import unique as keys
from workshed.console.operations.environment import open_queue_server
from workshed.console.operations.unique import HeldKey, KeyHolder
from workshed.console.web.view import cursor, known_names, name_filters
from workshed.console.web.view.name_filters import NameSources
from workshed.console.web.view.page import (
    ROWS,
    Action,
    Page,
    PageRequest,
)
from workshed.console.web.view.selection import create_action
from workshed.database.postgres import Connection
from workshed.errors import WorkshedError
from workshed.jobs.names import Names, to_name_array

PATH = "/unique"
NAMES: NameSources = {"actor": known_names.list_actor_names}
KeyPosition = tuple[datetime, str]


def load_keys(ask: PageRequest) -> Mapping[str, Any]:
    """Show the keys, the longest held first; optionally only orphaned ones."""
    place = cursor.decode_cursor(ask, datetime, str)
    after = None if place is None else (place[0], place[1])
    actor, begins = name_filters.matched_names(ask, "actor", NAMES), ask.text("key")
    is_judged = ask.text("orphaned") is not None
    problem, unjudged = None, None
    if is_judged:
        found, unjudged, problem = _load_orphans(ask, actor, after)
    else:
        found = keys.list_held_keys(
            ask.conn, actor=actor, begins=begins, after=after, limit=ROWS + 1
        )
    shown, newer = found[:ROWS], None
    if len(found) > ROWS:
        newer = cursor.encode_cursor(*shown[-1].sort_key)
    return {
        "keys": [_row(one, is_orphaned=is_judged or None) for one in shown],
        "unjudged": unjudged,
        "problem": problem,
        "newer": newer,
    }


def load_keys_form(ask: PageRequest) -> Mapping[str, Any]:
    """Return the names to suggest, and notes about what the filters match."""
    return name_filters.describe_fields(ask, NAMES)


def _load_orphans(
    ask: PageRequest, actor: Names, after: KeyPosition | None
) -> tuple[list[HeldKey], int | None, str | None]:
    """Return the orphaned keys, how many could not be judged, and an error, if any."""
    try:
        judged = open_queue_server().find_orphans(ask.conn)
    except WorkshedError as err:
        return [], None, str(err)
    actors, begins = to_name_array(actor), ask.text("key") or ""
    found = [
        HeldKey("alive", lock)
        for lock in judged.locks
        if (actors is None or lock.actor in actors) and lock.key.startswith(begins)
    ]
    found = sorted((one for one in found if after is None or one.sort_key > after), key=_sort_key)
    return found[: ROWS + 1], judged.unjudged, None


def _sort_key(key: HeldKey) -> KeyPosition:
    return key.sort_key


def _row(key: HeldKey, *, is_orphaned: bool | None) -> dict[str, Any]:
    """Return the row of a key; `is_orphaned` is `None` if RabbitMQ was not asked."""
    # Identified by its job, not by its generation, because a retry changes that.
    found = cursor.encode_cursor(key.row.key, key.row.message_id)
    return keys.as_data(key) | {"id": found, "is_orphaned": is_orphaned}


def _find_marked(_: Connection, marked: Sequence[str]) -> dict[str, KeyHolder]:
    """Return keys with the jobs that were shown with them."""
    holders = [KeyHolder(*cursor.parse_cursor(one, (str, str))) for one in sorted(marked)]
    return {holder.key: holder for holder in holders}


PAGES: tuple[Page, ...] = (
    Page(PATH, "Unique", "unique.html", load_keys, group="Tools", load_form=load_keys_form),
)
ACTIONS: tuple[Action, ...] = (
    create_action("/unique/release", replace(keys.RELEASE, find=_find_marked), "id", PATH),
)
