"""What `make matrix` runs on which versions, and that its report is true."""

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.matrix import __main__ as matrix
from tests.matrix import rootfs
from tests.matrix.row import ROOT, Row, clone
from tests.matrix.table import (
    NOT_RUN,
    PART,
    PLATFORMS,
    STEPS,
    Result,
    UnknownError,
    chosen_platforms,
    chosen_steps,
    numbers,
    rows,
)

PAGE = (ROOT / "docs" / "upgrading.md").read_text("utf-8").partition("## Supported versions")[2]
AS_ROOT = [] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user"]


def table(first):
    """The rows of the page's table whose first column has this head."""
    found = re.search(rf"^\| {first} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [tuple(word.strip() for word in line.split("|")[1:-1]) for line in found[1].splitlines()]


# Which rows and steps are chosen


def test_the_page_names_what_runs_and_what_does_not():
    here = {False: "this host", True: "a root file system of Debian's next release"}

    assert table("Python") == [
        (p.python, p.rabbitmq, p.postgresql, here[p.in_root]) for p in PLATFORMS
    ]
    assert table("not run") == list(NOT_RUN.items())
    assert [name for name, _ in table("step")] == [step.name for step in STEPS]


def test_the_oldest_and_the_newest_of_each_are_among_them():
    pythons = [numbers(p.python) for p in PLATFORMS]
    said = re.search(
        r"Python ([\d.]+) to ([\d.]+), RabbitMQ ([\d.]+) to ([\d.]+) and PostgreSQL (\d+) to (\d+)",
        PAGE,
    )

    ends = [*map(numbers, said.groups())]
    assert [min(pythons), max(pythons)] == ends[:2]
    assert {p.rabbitmq for p in PLATFORMS} == set(said.groups()[2:4])
    assert {p.postgresql for p in PLATFORMS} == set(said.groups()[4:])


@pytest.mark.parametrize("part", [False, True])
def test_the_files_that_a_step_runs_exist(part):
    for step in chosen_steps([], part=part):
        words = step.command(PLATFORMS[0], part=part)
        for word in words:
            file, _, name = word.partition("::")
            if word.startswith("tests/"):
                assert (ROOT / file).exists(), word
                assert not name or f"def {name}(" in (ROOT / file).read_text("utf-8"), word


def test_ci_runs_a_part_and_every_other_run_is_whole():
    assert [p.python for p in chosen_platforms([], part=True)] == list(PART)
    assert chosen_platforms([], part=False) == list(PLATFORMS)
    whole = {step.name for step in chosen_steps([], part=False)}
    part = {step.name for step in chosen_steps([], part=True)}
    assert part < whole
    assert {step.name for step in STEPS} == whole | {"suite", "bench"}
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert "tests.matrix --part" in script
    assert "tests.lowest" in script, "`--part` leaves it out, because it is for another Python"


def test_the_suite_is_every_test():
    (suite,) = (step for step in STEPS if step.name == "suite")

    assert "--exhaustive" in suite.command(PLATFORMS[0], part=False)


def test_rows_and_steps_are_chosen_in_the_order_of_the_table():
    assert [p.python for p in chosen_platforms(["3.15", "3.11"], part=False)] == ["3.11", "3.15"]
    assert [s.name for s in chosen_steps(["demo", "boot"], part=False)] == ["boot", "demo"]
    assert [p.python for p in chosen_platforms(["3.11"], part=True)] == ["3.11"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--only", "3.9"], "no Python '3.9' in this run; there are: 3.11, 3.13, 3.14, 3.15\n"),
        (["--step", "bot"], "no step 'bot' in this run; there are: boot, "),
        (["--part", "--step", "faults"], "no step 'faults' in this run; there are: boot, "),
    ],
)
def test_a_misspelt_name_is_refused_before_anything_runs(words, error, capsys):
    assert matrix.main(words) == 2
    assert capsys.readouterr().err.startswith(error)


@pytest.mark.parametrize("name", ["suite", "brokers"])
def test_only_the_row_of_another_postgresql_names_its_programs(name):
    first, second, *_ = PLATFORMS
    step = next(step for step in STEPS if step.name == name)

    assert step.command(first, part=False)[-1] == "--postgres=/usr/lib/postgresql/15/bin"
    assert "--postgres" not in " ".join(step.command(second, part=False))


def test_without_root_it_refuses_rows_that_need_root():
    words = matrix.refused(list(PLATFORMS), is_root=False)

    assert words == (
        "Only root can make the root file system in which Python 3.14 and 3.15 run; "
        "become root, or run `python -m tests.matrix --only 3.11 --only 3.13`."
    )
    assert matrix.refused(list(PLATFORMS), is_root=True) is None
    assert matrix.refused(list(PLATFORMS[:2]), is_root=False) is None


def test_it_refuses_before_anything_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(Row, "run", lambda row, steps: pytest.fail("it runs"))

    assert matrix.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Only root can make the root file system")
    assert err.count("\n") == 1
    assert not (tmp_path / "cache").exists()


# Reports


def test_the_table_has_every_step_with_what_it_ran_on():
    first, second, *_ = PLATFORMS
    results = [
        Result(first, "boot", "ok", 31.4).on("Python 3.11.7, RabbitMQ 4.0.5, PostgreSQL 15.18"),
        Result(second, "boot", "not run: no set-up"),
    ]

    assert rows(results) == [
        "platform                                         step  result              time",
        "Python 3.11.7, RabbitMQ 4.0.5, PostgreSQL 15.18  boot  ok                  31 s",
        "Python 3.13, RabbitMQ 4.0, PostgreSQL 18         boot  not run: no set-up",
    ]


def test_a_step_for_one_python_runs_on_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(Row, "_set_up", lambda row: None)
    monkeypatch.setattr(Row, "_run_step", lambda row, step: Result(row.platform, step.name, "ok"))
    steps = chosen_steps([], part=False)

    ran = {
        platform.python: [r.step for r in Row(platform, tmp_path, tmp_path, part=False).run(steps)]
        for platform in PLATFORMS
    }

    assert [python for python, names in ran.items() if "lowest" in names] == ["3.11"]
    assert all({"boot", "workers", "demo"} <= set(names) for names in ran.values())


@pytest.mark.parametrize(("outcome", "code"), [("ok", 0), ("failed", 1), ("not run: x", 1)])
def test_one_step_that_failed_fails_the_run_after_the_others(
    outcome, code, monkeypatch, capsys, tmp_path
):
    def run(row, steps):
        yield Result(row.platform, "set up", "ok")
        yield Result(row.platform, "boot", outcome)
        yield Result(row.platform, "unit", "ok")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(Row, "run", run)

    assert matrix.main(["--only", "3.11", "--only", "3.13"]) == code
    out = capsys.readouterr().out
    assert out.count("boot") == out.count("unit") == 2
    assert all(f"not run: {what}" in out for what in NOT_RUN)


def test_a_row_without_its_python_says_so_and_runs_no_step(tmp_path, monkeypatch, capsys):
    programs = tmp_path / "programs"
    programs.mkdir()
    for program in ("git", "setpriv", "env", "sh", "sed", "tr", "dirname", "id"):
        (programs / program).symlink_to(shutil.which(program))
    monkeypatch.setenv("PATH", str(programs))
    nowhere = replace(PLATFORMS[0], python="3.99")
    row = Row(nowhere, tmp_path / "cache", tmp_path / "logs", part=False)

    results = list(row.run(chosen_steps(["boot"], part=False)))

    assert [(r.step, r.outcome) for r in results] == [
        ("set up", "failed"),
        ("boot", "not run: no set-up"),
    ]
    said = capsys.readouterr().out
    assert said.startswith("3.99: no packages, code 1; see ")
    assert "(sudo apt-get install python3.99-venv)" in said


# Where it runs


def test_a_clone_has_the_last_commit_and_what_was_changed_since(tmp_path):
    source, copy = tmp_path / "source", tmp_path / "copy"

    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", str(source), *identity, *words], check=True)

    source.mkdir()
    git("init", "--quiet")
    for name in ("kept", "changed", "deleted"):
        (source / name).write_text("1")
    git("add", ".")
    git("commit", "--quiet", "--message", "First")
    (source / "changed").write_text("2")
    (source / "deleted").unlink()
    (source / "new").write_text("2")
    (source / "added").write_text("2")
    git("add", "added")

    for _ in range(2):  # the second time over an older clone
        clone(source, copy)

    found = {file.name: file.read_text() for file in copy.iterdir() if file.is_file()}
    assert found == {"kept": "1", "changed": "2", "added": "2"}


@pytest.fixture
def small_root(tmp_path):
    """A root file system of a few programs of this host."""
    root = tmp_path / "root"
    for place in ("proc", "dev", "matrix", "etc"):
        (root / place).mkdir(parents=True)
    for program in ("sh", "env", "cat", "sleep", "ls"):
        path = Path(shutil.which(program))
        said = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=True)
        for file in [str(path), f"/usr/bin/{program}", *re.findall(r"(/\S+) \(0x", said.stdout)]:
            target = root / file.removeprefix("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(file).resolve(), target)
    return root


def test_processes_inside_end_with_it_and_leave_no_mount(small_root, tmp_path):
    """With a leftover mount, a later `rm -rf` of the root would reach the host's /dev."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "given").write_text("here\n")
    script = "sleep 777 & cat given; cat /proc/1/comm; ls /dev/null; echo $WORD"
    words, environment = rootfs.enter(
        small_root, folder, ["sh", "-c", script], rootfs.INSIDE, {"WORD": "a b"}
    )

    done = subprocess.run(
        [*AS_ROOT, *words], env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.stdout.splitlines() == ["here", "sh", "/dev/null", "a b"], done.stderr
    assert str(small_root) not in Path("/proc/self/mountinfo").read_text()
    assert list((small_root / "dev").iterdir()) == []
    assert not is_running("sleep\000777\000")


def is_running(words):
    """Return whether a process has this command line, after up to 60 s to end."""
    until = time.monotonic() + 60
    while any(words == command(pid) for pid in Path("/proc").glob("[0-9]*")):
        if time.monotonic() > until:
            return True
    return False


def command(process):
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""


def test_a_part_has_a_smaller_root_and_takes_a_larger_one_that_is_there(tmp_path, monkeypatch):
    made = []

    def make(folder, packages, _log):
        made.append(packages)
        folder.mkdir()

    monkeypatch.setattr(rootfs, "make", make)
    log = tmp_path / "log"

    small = rootfs.ensure(tmp_path, log, part=True)
    assert rootfs.ensure(tmp_path, log, part=True) == small
    whole = rootfs.ensure(tmp_path, log, part=False)
    assert rootfs.ensure(tmp_path, log, part=True) == whole != small
    assert not small.exists()
    assert made == [rootfs.PART, rootfs.WHOLE]
    assert {"chromium", "prometheus"} <= set(rootfs.WHOLE) - set(rootfs.PART)


REMOVE = """
import pathlib, sys
from tests.matrix import rootfs

root = pathlib.Path(sys.argv[1])
try:
    rootfs.remove(root)
except rootfs.RootError as err:
    print(err)
print([file.name for file in (root / "dev").iterdir()])
"""


def test_a_root_in_which_something_is_mounted_is_not_deleted(tmp_path):
    root = tmp_path / "root"
    (root / "dev").mkdir(parents=True)
    script = 'mount -t tmpfs none "$1/dev" && touch "$1/dev/kept" && exec "$2" -c "$3" "$1"'
    namespace = ["unshare", "--mount", "--propagation", "private"]

    done = subprocess.run(
        [*AS_ROOT, *namespace, "sh", "-c", script, "sh", str(root), sys.executable, REMOVE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    words = f"{root}/dev is a mount; unmount it before {root} is deleted"
    assert done.stdout.splitlines() == [words, "['kept']"], done.stderr
    rootfs.remove(root)
    assert not root.exists()


def test_an_unknown_name_is_an_error_of_its_own():
    with pytest.raises(UnknownError, match=r"no Python '2\.7'"):
        chosen_platforms(["2.7"], part=False)
