"""What the matrix runs on which versions, as data: a row for a platform, an entry for a step."""

import re
from dataclasses import dataclass, replace

TWO, FIVE = (("-n", number, "--dist", "worksteal", "--exhaustive") for number in ("2", "5"))
"""How many test processes: each has servers of its own, and waits for them most of the time."""
RUNNERS = ("pytest", "tests")


@dataclass(frozen=True, slots=True)
class Platform:
    """One row: a Python with the servers that it is tested with."""

    python: str
    rabbitmq: str
    """The oldest series that this row may run on; the table says which one it was."""
    postgresql: str
    in_root: bool = False
    """Whether it runs in the root file system of Debian's next release, and not on this host."""

    @property
    def programs(self) -> str | None:
        """Return where Debian has PostgreSQL's programs, unless they come from the wheel."""
        is_in_wheel = self.postgresql == WHEEL_POSTGRESQL
        return None if is_in_wheel else f"/usr/lib/postgresql/{self.postgresql}/bin"


@dataclass(frozen=True, slots=True)
class Step:
    """One command in the environment of each row; `python` is that of the row."""

    name: str
    words: tuple[str, ...]
    part: tuple[str, ...] | None = None
    """The words for `--part`; `None`: it is left out there."""
    is_in_whole: bool = True
    """Whether a run of all steps has it; `False` where another step contains it."""
    only: str | None = None
    """The one Python that it runs on, where more would show nothing more."""

    def command(self, platform: Platform, *, part: bool) -> list[str]:
        """Return the words for a row."""
        words = list((part and self.part) or self.words)
        if words[0] in RUNNERS and platform.programs:
            words += ["--postgres", platform.programs]
        if words[0] in RUNNERS and platform.in_root:
            words += ["--ignore", "tests/unit/test_matrix.py"]  # it makes such roots itself
        return ["python", "-m", *words]


SIGN_UP = "tests/e2e/test_welcome.py::test_a_sign_up_becomes_a_mail_and_a_reminder"
START = "tests/e2e/workers/test_worker.py::test_it_says_so_when_all_have_booted_and_not_before"
WHEEL_POSTGRESQL = "18"
"""What the wheel in the lock brings."""

PLATFORMS = (
    Platform("3.11", rabbitmq="4.0", postgresql="15"),
    Platform("3.13", rabbitmq="4.0", postgresql="18"),
    Platform("3.14", rabbitmq="4.3", postgresql="18", in_root=True),
    Platform("3.15", rabbitmq="4.3", postgresql="18", in_root=True),
)
PART = ("3.14",)
"""The rows of `--part`: the newest servers, with the Python that most people will install next."""

NOT_RUN = {
    "Python 3.12": "between two that run",
    "RabbitMQ 4.1, 4.2": "no release of Debian has them; their release notes were read",
    "PostgreSQL 16, 17": "between two that run",
}


def pytest(*words: str) -> tuple[str, ...]:
    """Return the words of a run of a few tests."""
    return ("pytest", "-q", *TWO, *words)


STEPS = (
    Step(
        "boot",
        pytest(SIGN_UP, "tests/e2e/workers/test_start_methods.py"),
        part=pytest(SIGN_UP, START),
    ),
    Step("suite", ("tests", *FIVE)),
    Step("unit", pytest("tests/unit"), part=pytest("tests/unit"), is_in_whole=False),
    Step(
        "brokers",
        pytest("tests/integration/brokers"),
        part=pytest(
            *(
                f"tests/integration/brokers/test_{name}.py"
                for name in ("consuming", "executing", "policies", "relay", "sending")
            )
        ),
        is_in_whole=False,
    ),
    Step("lowest", ("tests.lowest",), only="3.11"),
    Step("demo", ("console", "demo"), part=("console", "demo")),
    Step("faults", ("tests.faults", "--only", "kill-everything", "--only", "cut-connections")),
)


class UnknownError(Exception):
    """There is no such row, or no such step."""


def chosen_platforms(names: list[str], *, part: bool) -> list[Platform]:
    """Return the rows of these Pythons, or all; raises `UnknownError`."""
    known = [platform.python for platform in PLATFORMS]
    wanted = pick("Python", names or (list(PART) if part else known), known)
    return [platform for platform in PLATFORMS if platform.python in wanted]


def chosen_steps(names: list[str], *, part: bool) -> list[Step]:
    """Return the steps of these names, or all of a run; raises `UnknownError`."""
    steps = [step for step in STEPS if step.part or not part]
    all_of_a_run = [step.name for step in steps if part or step.is_in_whole]
    wanted = pick("step", names or all_of_a_run, [step.name for step in steps])
    return [step for step in steps if step.name in wanted]


def pick(kind: str, names: list[str], known: list[str]) -> set[str]:
    """Return names that are known; raises `UnknownError`."""
    for name in names:
        if name not in known:
            raise UnknownError(f"no {kind} {name!r} in this run; there are: {', '.join(known)}")
    return set(names)


@dataclass(frozen=True, slots=True)
class Result:
    """How one step went on one row."""

    platform: Platform
    step: str
    outcome: str
    """`ok`, `failed`, or `not run` with a reason after a colon."""
    seconds: float = 0.0
    versions: str = ""

    @property
    def is_ok(self) -> bool:
        """Tell whether it ran and passed."""
        return self.outcome == "ok"

    def on(self, versions: str) -> "Result":
        """Return it with what it ran on."""
        return replace(self, versions=versions)


def rows(results: list[Result]) -> list[str]:
    """Write the table: a line for each row and step, with the versions that it really ran on."""
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
    """Return the numbers of a version; none where there is none."""
    found = re.search(r"\d+(\.\d+)*", version)
    return [int(word) for word in found[0].split(".")] if found else []
