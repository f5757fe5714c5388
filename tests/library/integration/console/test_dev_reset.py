"""`workshed dev --reset`: an extra word does not wipe the data of weeks."""

import pytest

from workshed.devserver import state


@pytest.fixture
def left(open_folder):
    """A state folder with three files of an earlier run, and a file of the user's own."""
    with state.lock_folder(open_folder) as held:
        (held.create_subfolder("postgres") / "base").write_bytes(b"x" * 2_100_000)
        (held.create_subfolder("mail") / "1.eml").write_bytes(b"x" * 1_000)
        held.write_notes(secret_key="k")
    (open_folder / "thesis.txt").write_text("x" * 500)
    return open_folder


@pytest.fixture
def reset(workshed, left):
    return lambda *words: workshed("dev", "--reset", "--state", str(left), *words)


def test_without_a_terminal_it_needs_yes_and_shows_what_it_would_wipe(reset, left):
    done = reset()

    assert (done.code, done.out) == (2, "")
    assert f"Wipe 3 files of 2 MB in {left} (postgres, mail, servers.json): " in done.err
    assert "use --yes, or check first with --dry-run" in done.err
    assert (left / "postgres/base").exists()


def test_a_dry_run_shows_what_it_would_wipe_and_starts_nothing(reset, left):
    done = reset("--dry-run")

    assert (done.code, done.out) == (0, f"{left}: 3 files of 2 MB\n")
    assert "3 files of 2 MB would be wiped (postgres, mail, servers.json)" in done.err
    found = reset("--dry-run", "--json").json
    assert (found["state"], found["files"]) == (str(left), 3)
    assert 2_101_000 < found["bytes"] < 2_102_000
    assert (left / "postgres/base").exists()


def test_a_dry_run_makes_no_folder(workshed, open_folder):
    missing = open_folder / "typo"

    done = workshed("dev", "--reset", "--dry-run", "--state", str(missing))

    assert (done.code, done.out) == (0, f"{missing}: 0 files of 0 bytes\n")
    assert not missing.exists()


def test_a_folder_in_use_is_refused_without_a_question(reset, left):
    with state.lock_folder(left):
        done = reset("--yes")

    assert done.code == 1
    assert f"{left} is in use by another `workshed dev`" in done.err
    assert (left / "postgres/base").exists()


@pytest.mark.parametrize("word", ["--yes", "--dry-run"])
def test_options_of_reset_are_refused_without_it(workshed, word):
    done = workshed("dev", word)

    assert done.code == 2
    assert "need --reset" in done.err
