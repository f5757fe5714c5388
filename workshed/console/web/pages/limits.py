"""Limits: how much of each is in use, by which jobs, which jobs wait, and until when."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from workshed.console.web.view import cursor
from workshed.console.web.view.page import ROWS, Action, Page, PageRequest
from workshed.jobs.locks import limits

PATH = "/limits"
SHOWN_PER_LIMIT = 3
"""Holders and waiters shown per limit in the list."""


def load_limits(ask: PageRequest) -> Mapping[str, Any]:
    """Show the limits in use, or one limit with more of its holders and waiters."""
    key, after = ask.text("key"), cursor.decode_cursor(ask, str)
    found = limits.list_limits(
        ask.conn,
        key=key,
        waiting=ask.text("waiting") is not None,
        after=None if after is None else after[0],
        limit=ROWS + 1,
    )
    shown, more = found[:ROWS], None
    if len(found) > ROWS:
        more = cursor.encode_cursor(shown[-1].key)
    keys, at_most = [one.key for one in shown], SHOWN_PER_LIMIT if key is None else ROWS
    holders = limits.list_holders(ask.conn, keys, at_most)
    waiters = limits.list_waiters(ask.conn, keys, at_most)
    return {
        "limits": [
            asdict(one)
            | {
                "holders": [asdict(each) for each in holders if each.key == one.key],
                "waiters": [asdict(each) for each in waiters if each.key == one.key],
            }
            for one in shown
        ],
        "more": more,
    }


PAGES: tuple[Page, ...] = (
    Page(PATH, "Limits", "limits.html", load_limits, group="Tools", is_live=True),
)
ACTIONS: tuple[Action, ...] = ()
