"""An import whose jobs are delivered three times, to workers that are killed."""

import contextlib
import functools

import pytest

from actors import import_user_rows, start_import
from shop import imports, people
from tests.faults.every import Every
from tests.faults.experiment import Remedy, Result, experiment
from workshed import db
from workshed.contrib.storage import blobs, storage
from workshed.settings import settings

CHUNK = 250
COPIES = 2
"""Additional copies of each job."""
OWNER = "grace@example.org"
WAITING = "SELECT count(*) FROM workshed.schedule WHERE actor = 'import_user_rows'"
COMPLETIONS = (
    "SELECT count(*) FROM workshed_notifications.notifications WHERE event = 'import_completed'"
)


@pytest.fixture
def start_one(start_worker):
    return functools.partial(start_worker, "actors", threads=4)


@pytest.fixture
def hand_in(broker, tmp_path, monkeypatch):
    """`hand_in("name,email\\n…")`: start an import and return its number.

    Use it before the workers start, because it sets their environment.
    """
    monkeypatch.setenv("WORKSHED_STORAGE_URL", f"file:{tmp_path}/contents")
    monkeypatch.setenv("SHOP_IMPORT_CHUNK", str(CHUNK))
    settings.cache_clear()

    def start(content):
        with storage().draft() as draft:
            draft.write(content.encode())
            blob = blobs.keep(draft)
        with db.transaction() as conn:
            owner = people.create(conn, name="Grace", email=OWNER)
            return start_import(conn, owner.id, "people.csv", blob)

    return start


def people_csv(count):
    """Return a CSV of this many rows, and the addresses of the expected users."""
    lines, addresses = ["name,email"], set()
    for n in range(count):
        match n % 10:
            case 7:
                lines.append(f",stranger{n}@example.org")
            case 8:
                lines.append(f"Ada,ada{n} at example.org")
            case 9:  # the address of the first of these ten
                lines.append(f"Ada,ADA{n - 9}@Example.org")
            case _:
                lines.append(f"Ada,ada{n}@example.org")
                addresses.add(f"ada{n}@example.org")
    return "\n".join(lines), addresses


@experiment(
    "import",
    number=16,
    fails_by="duplicated",
    needs_rabbitmq=False,
    in_suite=True,
    fault="each job that imports rows is delivered three times; `kill -9` of one of two worker "
    "masters every second, once the other is up",
    load="100 000 rows, three in ten of them invalid",
    remedy=Remedy(
        "shop/imports/rows.py",
        """           AND r.outcome IS NULL
           AND lower(u.email)""",
        """           AND lower(u.email)""",
    ),
)
def test_each_row_is_counted_once(hand_in, kill_a_worker, connect, judged, scale, eventually):
    rows = scale(100_000)
    content, wanted = people_csv(rows)
    conn = connect(autocommit=True)

    def one(query):
        return conn.execute(query).fetchone()[0]

    with Every(1, kill_a_worker):
        number = hand_in(content)
        eventually(lambda: imports.get_import(conn, number).state != "pending", within_s=120)
        for first in range(1, rows, CHUNK):
            for _ in range(COPIES):
                import_user_rows.send(number, first, CHUNK)
        judged.all_sent()
        with contextlib.suppress(AssertionError):  # what is missing is counted
            eventually(lambda: imports.get_import(conn, number).is_over, within_s=120)
            eventually(lambda: kill_a_worker.times > 0)
    with contextlib.suppress(AssertionError):
        eventually(lambda: one(WAITING) == 0, within_s=60)

    found = imports.get_import(conn, number)
    came = {email for (email,) in conn.execute("SELECT email FROM shop.users")} - {OWNER}
    ended = found.succeeded + found.failed
    judged(
        Result(
            lost=len(wanted - came) + max(0, rows - ended),
            ghost=len(came - wanted),
            duplicated=max(0, ended - rows)
            + abs(found.succeeded - len(wanted))
            + abs(one(COMPLETIONS) - 1),
            stuck=one(WAITING) + (found.state != "completed"),
            notes={"rows": rows},
        )
    )
