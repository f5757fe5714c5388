"""`workshed storage import-existing`: contents without a row in PostgreSQL."""

import pytest

from workshed import db
from workshed.contrib.storage import blobs, storage

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def strays(env, tmp_path):
    """Two contents whose rows are lost, and one with a row."""
    env(STORAGE_URL=f"file:{tmp_path}/contents")
    for text in (b"one", b"two", b"three"):
        with storage().draft() as draft:
            draft.write(text)
            blob = blobs.keep(draft)
    with db.transaction() as conn:
        conn.execute("DELETE FROM workshed_storage.blobs WHERE sha256 <> %s", (blob.sha256,))
    return f"file:{tmp_path}/contents"


def test_they_are_counted_and_adopted(workshed, strays):
    assert (
        workshed("storage", "import-existing", "--dry-run").out
        == f"2 contents without a row in {strays}\n"
    )
    assert workshed("storage", "import-existing").code == 2  # it cannot ask without a terminal

    done = workshed("storage", "import-existing", "--yes")

    assert (done.code, done.out) == (0, f"2 contents without a row in {strays}, imported\n")
    assert workshed("storage", "import-existing", "--dry-run").out.startswith("0 contents")
