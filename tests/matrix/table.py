"""The matrix as data: its platforms, and the steps that run on each."""

import re
from dataclasses import dataclass, replace

TWO, FIVE = (("-n", number, "--dist", "worksteal") for number in ("2", "5"))
"""Numbers of test processes; each has its own servers."""
UNIT = ("tests/library/unit", "tests/service/unit")
BROKERS = "tests/library/integration/brokers"
KIT = ("tests/library/integration/kit", "tests/service/integration/kit")
WORKERS = "tests/library/e2e/workers"
DJANGO = "tests/library/e2e/django_sites"


@dataclass(frozen=True, slots=True)
class Platform:
    """One row: a Python version, and the servers to test it with."""

    python: str
    rabbitmq: str
    """The oldest series that this row accepts; the final table shows the real version."""
    postgresql: str
    in_root: bool = False
    """Whether it runs in the root file system of Debian's next release instead of this host."""

    @property
    def programs(self) -> str | None:
        """Return Debian's folder of PostgreSQL's programs; `None` if they come from the wheel."""
        is_in_wheel = self.postgresql == WHEEL_POSTGRESQL
        return None if is_in_wheel else f"/usr/lib/postgresql/{self.postgresql}/bin"


@dataclass(frozen=True, slots=True)
class Step:
    """One command, run by the Python of each row."""

    name: str
    words: tuple[str, ...]
    part: tuple[str, ...] | None = None
    """Its arguments for `--part`; `None` if `--part` leaves it out."""
    is_in_whole: bool = True
    """Whether a run of all steps includes it; `False` if it has to be asked for by name."""
    only: str | None = None
    """The only Python to run it on, if others would show the same."""

    def command(self, platform: Platform, *, part: bool) -> list[str]:
        """Return the command for a row."""
        words = list((part and self.part) or self.words)
        if words[0] == "tests" and platform.programs:
            # As one word, because pytest would treat a second one as the folder of the tests.
            words.append(f"--postgres={platform.programs}")
        if words[0] == "tests" and platform.in_root:
            words += ["--ignore", "tests/library/unit/test_matrix.py"]  # it makes such roots itself
        return ["python", "-m", *words]


SIGN_UP = "tests/service/e2e/test_welcome.py::test_a_sign_up_becomes_a_mail_and_a_reminder"
START = (
    "tests/library/e2e/workers/test_worker.py::test_it_says_so_when_all_have_booted_and_not_before"
)
WHEEL_POSTGRESQL = "18"
"""The PostgreSQL of the wheel in the lock file."""

PLATFORMS = (
    Platform("3.11", rabbitmq="4.0", postgresql="15"),
    Platform("3.13", rabbitmq="4.0", postgresql="18"),
    Platform("3.14", rabbitmq="4.3", postgresql="18", in_root=True),
    Platform("3.15", rabbitmq="4.3", postgresql="18", in_root=True),
)
PART = ("3.14",)
"""The rows of `--part`: the newest servers, with one Python."""

NOT_RUN = {
    "Python 3.12": "between two that run",
    "RabbitMQ 4.1, 4.2": "no release of Debian has them; their release notes were read",
    "PostgreSQL 16, 17": "between two that run",
}


def run(*words: str, processes: tuple[str, ...] = TWO) -> tuple[str, ...]:
    """Return the command that runs these tests, all of them if none is named."""
    return ("tests", "--rerun", "-q", *processes, "--exhaustive", *words)


STEPS = (
    Step(
        "boot",
        run(SIGN_UP, "tests/library/e2e/workers/test_start_methods.py"),
        part=run(SIGN_UP, START),
    ),
    Step("unit", run(*UNIT), part=run(*UNIT)),
    Step(
        "brokers",
        run(BROKERS),
        part=run(
            *(
                f"{BROKERS}/test_{name}.py"
                for name in ("consuming", "executing", "policies", "relay", "sending")
            )
        ),
    ),
    Step("kit", run(*KIT)),
    Step("workers", run(WORKERS, processes=FIVE)),
    Step("django", run(DJANGO), part=run(DJANGO), only="3.14"),
    Step("lowest", ("tests.lowest",), only="3.11"),
    Step("demo", ("shop.demo",), part=("shop.demo",)),
    Step("faults", ("tests.faults", "--only", "kill-everything", "--only", "cut-connections")),
    Step("suite", run(processes=FIVE), is_in_whole=False),
    Step("bench", ("bench", "--quick", "--only", "footprint"), is_in_whole=False),
)


class UnknownError(Exception):
    """A row or a step has an unknown name."""


def chosen_platforms(names: list[str], *, part: bool) -> list[Platform]:
    """Return the rows of these Pythons, by default all; raises `UnknownError`."""
    known = [platform.python for platform in PLATFORMS]
    wanted = pick("Python", names or (list(PART) if part else known), known)
    return [platform for platform in PLATFORMS if platform.python in wanted]


def chosen_steps(names: list[str], *, part: bool) -> list[Step]:
    """Return the steps of these names, by default all of a run; raises `UnknownError`."""
    steps = [step for step in STEPS if step.part or not part]
    all_of_a_run = [step.name for step in steps if part or step.is_in_whole]
    wanted = pick("step", names or all_of_a_run, [step.name for step in steps])
    return [step for step in steps if step.name in wanted]


def pick(kind: str, names: list[str], known: list[str]) -> set[str]:
    """Return the names as a set; raises `UnknownError`."""
    for name in names:
        if name not in known:
            raise UnknownError(f"no {kind} {name!r} in this run; there are: {', '.join(known)}")
    return set(names)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one step on one row."""

    platform: Platform
    step: str
    outcome: str
    """`ok`, `failed`, or `not run` with a reason after a colon."""
    seconds: float = 0.0
    versions: str = ""

    @property
    def is_ok(self) -> bool:
        """Return whether it ran and passed."""
        return self.outcome == "ok"

    def on(self, versions: str) -> "Result":
        """Return it with the versions that it ran on."""
        return replace(self, versions=versions)


def rows(results: list[Result]) -> list[str]:
    """Format the table: a line for each row and step, with the versions that it ran on."""
    lines = [("platform", "step", "result", "time")]
    for result in results:
        platform = result.platform
        name = result.versions or (
            f"Python {platform.python}, RabbitMQ {platform.rabbitmq}, "
            f"PostgreSQL {platform.postgresql}"
        )
        seconds = f"{result.seconds:.0f} s" if result.seconds else ""
        lines.append((name, result.step, result.outcome, seconds))
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


def numbers(version: str) -> list[int]:
    """Return the numbers of a version; an empty list if the text has none."""
    found = re.search(r"\d+(\.\d+)*", version)
    return [int(word) for word in found[0].split(".")] if found else []
