"""The example of docs/unique.md, and its SQL, run as printed."""

import re

from tests import pages

PAGE = pages.text("docs/unique.md")
[(NAME, TEXT)] = pages.files("docs/unique.md").items()
[SQL] = re.findall(r"`(SELECT workshed\.send[^`]*)`", PAGE)


def test_the_second_send_returns_the_job_that_has_the_key(
    tmp_path, run, environment, broker, start_worker, conn, count, eventually
):
    (tmp_path / NAME).write_text(TEXT)
    broker.ensure_queues({"low"})

    code, said = run(NAME, **environment)

    assert code == 0, said
    [(holder, key)] = conn.execute("SELECT message_id, key FROM workshed.unique_locks").fetchall()
    assert key == "make_thumbnail:[7]"
    conn.commit()
    start_worker("thumbnails", threads=1)
    eventually(lambda: count("workshed.unique_locks") == 0)
    assert conn.execute(SQL).fetchone() != (holder,)
    assert conn.execute("SELECT key FROM workshed.unique_locks").fetchall() == [(key,)]
