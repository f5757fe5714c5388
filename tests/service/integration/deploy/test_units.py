"""The units as checked by systemd's tools; `tests/service/e2e/deploy` runs them with systemd."""

import configparser
import os
import re
import shlex
import shutil
import subprocess
from urllib.parse import urlsplit

import pytest

from brokers.app import QUEUES
from tests.root import ROOT
from tests.service.integration.deploy.lines import load, problem, queues, unknown
from workshed.console.cli import CODE_MEANINGS
from workshed.console.supervisor.supervisor import EXIT_FAILED, EXIT_KILLED
from workshed.errors import EXIT_BROKER, EXIT_DATABASE, EXIT_USAGE
from workshed.settings import Settings

FOLDER = ROOT / "deploy" / "systemd"
UNITS = {one.name: one for one in sorted(FOLDER.glob("workshed*.*")) if one.is_file()}
SERVICES = [name for name in UNITS if name.endswith(".service")]
# The account and role in docs/roles.md that each example file is for.
ROWS = {
    "migrate": "`workshed migrate`",
    "worker": "workers",
    "relay": "`workshed relay`",
    "clock": "a clock, `periodiq …`",
    "console": "operators: commands, the console",
}
LASTING = [name for name in SERVICES if "migrate" not in name]
DEFINITIONS = ROOT / "deploy" / "rabbitmq" / "definitions.json"
MOST_EXPOSED = 13
"""Limit in tenths for `systemd-analyze security`: 100 is unconfined, below 20 is OK."""


class Unit(configparser.ConfigParser):
    """A unit file in which the last value of a key counts."""

    def __init__(self, name):
        super().__init__(
            interpolation=None, strict=False, comment_prefixes=("#",), delimiters=("=",)
        )
        self.optionxform = str
        self.read_string(UNITS[name].read_text("utf-8"))

    def service(self, key):
        return self["Service"].get(key)


def seconds(text):
    words = ("systemd-analyze", "timespan", text)
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return int(re.search(r"μs: (\d+)", done.stdout)[1]) / 1e6


def variables(name):
    """Return the variables of an example file, as systemd would read it."""
    lines = (FOLDER / "etc" / name).read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and line[0] != "#")


def proposed(name):
    """Return the optional variables that an example file has in comments."""
    lines = (FOLDER / "etc" / name).read_text("utf-8").splitlines()
    return dict(line[1:].split("=", 1) for line in lines if line.startswith("#WORKSHED_"))


def command(name, environment):
    """Return the words of a unit's command, with its environment variables expanded."""
    words = []
    for word in Unit(name).service("ExecStart").split():
        words += shlex.split(environment[word[1:]]) if word[0] == "$" else [word]
    return words


@pytest.fixture
def installed(tmp_path):
    """The units in a folder that systemd searches, with a program at the path that they name."""
    shutil.copytree(FOLDER, tmp_path / "units")
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for file in (tmp_path / "units").glob("*.service"):
        file.write_text(re.sub(r"/opt/workshed/bin/\w+", str(program), file.read_text("utf-8")))
    return tmp_path / "units"


def analyze(folder, *words):
    env = {**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:", "SYSTEMD_COLORS": "0"}
    return subprocess.run(
        ["systemd-analyze", *words], env=env, capture_output=True, text=True, check=False
    )


def test_there_is_a_unit_for_each_part():
    assert set(UNITS) == {
        "workshed-worker@.service",
        "workshed-relay.service",
        "workshed-clock.service",
        "workshed-console.service",
        "workshed-migrate.service",
        "workshed.target",
    }


@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_each_unit(name, installed):
    done = analyze(installed, "verify", "--man=no", name.replace("@.", "@mail."))

    ours = [line for line in done.stderr.splitlines() if "workshed" in line]
    assert ours == []


def test_systemd_reports_a_wrong_unit(installed):
    file = installed / "workshed-relay.service"
    file.write_text(file.read_text("utf-8").replace("TimeoutStopSec", "TimeoutStopSek"))

    done = analyze(installed, "verify", "--man=no", "workshed-relay.service")

    assert "TimeoutStopSek" in done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_each_unit_is_confined(name, installed):
    unit = name.replace("@.", "@mail.")

    done = analyze(installed, "security", "--offline=true", f"--threshold={MOST_EXPOSED}", unit)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", LASTING)
def test_a_unit_restarts_unless_its_settings_are_wrong(name):
    unit = Unit(name)
    prevented = {int(code) for code in unit.service("RestartPreventExitStatus").split()}

    assert prevented == {EXIT_USAGE}
    assert CODE_MEANINGS[EXIT_USAGE].startswith("wrong usage or settings")
    assert prevented.isdisjoint({EXIT_FAILED, EXIT_KILLED, EXIT_BROKER, EXIT_DATABASE})
    assert unit.service("Restart") == "always"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert unit.service("SuccessExitStatus") is None


def test_a_worker_has_its_grace_period_and_a_reserve():
    unit = Unit("workshed-worker@.service")
    grace = load(variables("workshed.env")).shutdown_grace.total_seconds()

    assert grace == Settings().shutdown_grace.total_seconds()
    assert seconds(unit.service("TimeoutStopSec")) >= grace + 20
    assert unit.service("KillMode") == "mixed"  # otherwise programs of jobs would get SIGTERM, too


def test_a_worker_rolls_when_it_is_reloaded():
    assert Unit("workshed-worker@.service").service("ExecReload").endswith("'kill -HUP $MAINPID'")


@pytest.mark.parametrize("name", SERVICES)
def test_its_command_is_one_that_its_program_takes(name):
    shared = variables("workshed.env")
    groups = [f"worker-{group}.env" for group in ("quick", "mail", "heavy")]
    for own in groups if "@" in name else ["console.env"]:
        assert problem(command(name, shared | variables(own))) is None


@pytest.mark.parametrize("name", sorted(one.name for one in (FOLDER / "etc").iterdir()))
def test_each_variable_of_the_examples_is_a_setting_that_is_read(name):
    said = variables(name)
    filled = {key: value.strip("'") for key, value in said.items()}

    assert unknown(said) == set()
    load({key: value for key, value in filled.items() if value})


@pytest.mark.parametrize("name", SERVICES)
def test_a_part_may_have_an_account_and_a_role_of_its_own(name):
    """The last of two files wins. Without its own file, a part has the rights of all parts."""
    files = re.findall(r"(?m)^EnvironmentFile=(.+)$", UNITS[name].read_text("utf-8"))
    own = name.removeprefix("workshed-").removesuffix(".service").replace("@", "-%i")

    assert [one.removeprefix("-") for one in files] == [
        "/etc/workshed/workshed.env",
        f"/etc/workshed/{own}.env",
    ]
    needed = "console" in name or "@" in name  # users, queues
    assert files[1].startswith("-") is not needed


@pytest.mark.parametrize(
    "name", sorted({one.name for one in (FOLDER / "etc").iterdir()} - {"workshed.env"})
)
def test_the_accounts_of_the_examples_are_those_of_the_page(name):
    page = (FOLDER.parents[1] / "docs" / "roles.md").read_text("utf-8")
    part = ROWS[name.removesuffix(".env").partition("-")[0]]
    account, role = re.search(rf"(?m)^\| {re.escape(part)} \| (.*?)\| (.*) \|$", page).groups()
    said = {key: urlsplit(url) for key, url in proposed(name).items()}
    rabbitmq, postgresql = said.get("WORKSHED_BROKER_URL"), said["WORKSHED_DATABASE_URL"]

    load(proposed(name))
    owner = postgresql.username == "owner"
    assert role == ("owns the schemas" if owner else f"`workshed_{postgresql.username}`")
    assert account.partition(",")[0].strip("` ") == (rabbitmq.username if rabbitmq else "")
    assert rabbitmq is None or f'"name": "{rabbitmq.path[1:]}"' in DEFINITIONS.read_text("utf-8")


def test_the_groups_of_the_examples_work_on_every_queue_once():
    found = [
        queue
        for file in (FOLDER / "etc").glob("worker-*.env")
        for queue in queues(variables(file.name)["WORKER"].split())
    ]

    assert sorted(found) == sorted(queue.name for queue in QUEUES)


def test_no_two_parts_of_a_host_have_the_same_port():
    files = [variables(one.name) for one in (FOLDER / "etc").glob("worker-*.env")]
    ports = [one["WORKSHED_METRICS_PORT"] for one in files]
    alone = [Unit(f"workshed-{part}.service") for part in ("relay", "clock")]
    ports += [unit.service("Environment").partition("=")[2] for unit in alone]

    assert len(set(ports)) == len(ports) == 5


@pytest.mark.parametrize("name", LASTING)
def test_the_target_includes_each_unit(name):
    unit = Unit(name)

    assert unit["Unit"]["PartOf"] == "workshed.target"
    assert unit["Install"]["WantedBy"] == "workshed.target"
    assert "workshed-migrate.service" in unit["Unit"]["After"].split()
