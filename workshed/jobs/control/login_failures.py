"""How many logins to the console failed lately, by any key: an address, a name, a browser."""

from collections.abc import Sequence
from datetime import timedelta

from workshed.database.postgres import Connection
from workshed.pruning import delete_old_rows
from workshed.value_class import value_class

KEPT = timedelta(hours=2)
"""Longer than any limit looks back."""


@value_class
class FailureLimit:
    """How many failures may be counted under a key."""

    key: str
    most: int
    within: timedelta


@value_class
class FailureCount:
    """How many failures were counted under the key of a limit."""

    limit: FailureLimit
    count: int
    lasts: timedelta
    """How long the first of them still counts; 0 if there are none."""


def count_failures(conn: Connection, limits: Sequence[FailureLimit]) -> list[FailureCount]:
    """Return the failures of each limit, in the same order.

    They are counted by the minute, and a minute counts until all of it is long enough ago.
    """
    query = """
        SELECT COALESCE(sum(f.count), 0)::bigint,
               COALESCE(min(f.minute) + wanted.within + interval '1 minute' - workshed.now(),
                        interval '0')
          FROM unnest(%(keys)s::text[], %(spans)s::interval[])
               WITH ORDINALITY AS wanted (key, within, place)
          LEFT JOIN workshed.login_failures AS f
            ON f.key = wanted.key
           AND f.minute > workshed.now() - wanted.within - interval '1 minute'
         GROUP BY wanted.place, wanted.within
         ORDER BY wanted.place
    """
    values = {"keys": [one.key for one in limits], "spans": [one.within for one in limits]}
    rows = conn.execute(query, values).fetchall()
    return [
        FailureCount(limit, count, lasts)
        for limit, (count, lasts) in zip(limits, rows, strict=True)
    ]


def record_failure(conn: Connection, keys: Sequence[str]) -> None:
    """Count a failure under each of these distinct keys."""
    # In one order, so that two such statements cannot wait for each other.
    query = """
        INSERT INTO workshed.login_failures AS f (key, minute, count)
        SELECT key, date_trunc('minute', workshed.now()), 1
          FROM unnest(%s::text[]) AS key
         ORDER BY key
            ON CONFLICT (key, minute) DO UPDATE SET count = f.count + 1
    """
    conn.execute(query, (list(keys),))


def prune_failures(conn: Connection, limit: int) -> int:
    """Delete those that no limit looks at any more, at most `limit`; return how many."""
    return delete_old_rows(conn, "workshed.login_failures", "minute", KEPT, limit)
