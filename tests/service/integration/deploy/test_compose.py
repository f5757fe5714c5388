"""`deploy/compose.yaml` as parsed by Docker's own program; there is no engine to run it."""

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from tests.service.integration.deploy.composed import DEPLOY, SECRETS, composed
from tests.service.integration.deploy.lines import load, problem, unknown
from workshed.console.formatting import parse_duration
from workshed.console.web.server.clients import require_answer
from workshed.settings import Settings

LASTING = {"worker", "relay", "clock", "console"}
OURS = LASTING | {"migrate"}
OTHERS = {"rabbitmq", "postgres", "prometheus", "grafana"}
PORTS = {"worker": 9191, "relay": 9191, "clock": 9191, "console": 8080}


@pytest.fixture
def project(tmp_path):
    return composed(tmp_path)


@pytest.fixture
def services(project):
    return project["services"]


def mounts(service, kind):
    return [one for one in service.get("volumes", ()) if one["type"] == kind]


def test_all_parts_and_servers_are_there(services):
    assert set(services) == OURS | OTHERS


@pytest.mark.parametrize("name", sorted(OURS))
def test_each_command_is_one_that_its_program_takes(name, services):
    assert problem(services[name]["command"]) is None


@pytest.mark.parametrize("name", sorted(OURS))
def test_each_variable_is_a_setting_with_a_value_that_is_read(name, services):
    environment = services[name]["environment"]

    assert unknown(environment) == set()
    assert load(environment).broker_url.get_secret_value() == "amqp://workshed:r@rabbitmq:5672/"


def test_console_users_survive_their_dollar_signs(services):
    said = services["console"]["environment"]["WORKSHED_CONSOLE_USERS"]

    assert f"'{said}'" == SECRETS["CONSOLE_USERS"]
    assert "WORKSHED_CONSOLE_USERS" not in services["worker"]["environment"]


def test_the_console_has_an_answer_about_proxies(services):
    console = services["console"]
    host = console["command"][console["command"].index("--host") + 1]

    require_answer(host, console["environment"]["WORKSHED_CONSOLE_PROXIES"])


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_services_write_only_to_declared_places(name, services):
    service = services[name]

    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108 -- in the container
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {one["target"] for one in mounts(service, "volume")} <= {"/var/lib/workshed"}
    assert "user" not in service  # the image's user, which is unprivileged


@pytest.mark.parametrize("name", sorted(LASTING))
def test_it_starts_once_the_schema_is_there_and_rabbitmq_answers(name, services):
    needs = {one: how["condition"] for one, how in services[name]["depends_on"].items()}

    assert needs == {"rabbitmq": "service_healthy", "migrate": "service_completed_successfully"}
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert services["migrate"]["restart"] == "no"


@pytest.mark.parametrize("name", sorted(LASTING))
def test_its_health_check_uses_the_port_that_answers(name, services):
    kind, program, option, code = services[name]["healthcheck"]["test"]

    assert (kind, program, option) == ("CMD", "python", "-c")
    assert f"'http://127.0.0.1:{PORTS[name]}/readyz'" in code
    compile(code, "healthcheck", "exec")


def test_a_worker_in_compose_has_its_grace_period_and_a_reserve(services):
    grace = load(services["worker"]["environment"]).shutdown_grace
    given = parse_duration(services["worker"]["stop_grace_period"])

    assert given >= grace + timedelta(seconds=20)


def test_every_file_that_is_mounted_exists(services):
    lent = [Path(one["source"]) for one in services.values() for one in mounts(one, "bind")]

    assert [str(one) for one in lent if not one.exists()] == []
    assert {one.relative_to(DEPLOY).parts[0] for one in lent} == {
        "rabbitmq",
        "prometheus",
        "grafana",
    }
    assert all(one["read_only"] for service in services.values() for one in mounts(service, "bind"))


def test_prometheus_scrapes_services_that_are_there(services):
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))
    groups = [one for job in config["scrape_configs"] for one in job["static_configs"]]
    targets = {target for group in groups for target in group["targets"]}

    assert {"worker:9191", "relay:9191", "rabbitmq:15692"} <= targets
    assert {target.partition(":")[0] for target in targets} <= set(services)


def test_grafana_finds_its_dashboards_where_they_are_mounted(services):
    folder = DEPLOY / "grafana" / "provisioning" / "dashboards"
    files = [yaml.safe_load(one.read_text("utf-8")) for one in folder.glob("*.y*ml")]
    paths = {one["options"]["path"] for file in files for one in file["providers"]}

    assert paths
    assert paths <= {one["target"] for one in mounts(services["grafana"], "bind")}


def test_nothing_answers_beyond_this_host(services):
    ports = [port for service in services.values() for port in service.get("ports", ())]

    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_no_secret_has_a_value_of_its_own(tmp_path):
    example = (DEPLOY / ".env.example").read_text("utf-8").splitlines()
    named = dict(line.split("=", 1) for line in example if line and line[0] != "#")

    assert set(SECRETS) <= set(named)
    assert {named[name].strip("'") for name in SECRETS} == {""}
    words = ("docker-compose", "--file", str(DEPLOY / "compose.yaml"), "config", "--quiet")
    done = subprocess.run(words, env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=False)
    assert done.returncode
    assert b"see deploy/README.md" in done.stderr


def test_a_misspelt_key_is_refused(tmp_path):
    wrong = (
        (DEPLOY / "compose.yaml").read_text("utf-8").replace("read_only: true", "readonly: true")
    )
    (tmp_path / "compose.yaml").write_text(wrong)
    words = ("docker-compose", "--file", str(tmp_path / "compose.yaml"), "config", "--quiet")

    done = subprocess.run(words, env=SECRETS, capture_output=True, check=False)

    assert b"readonly" in done.stderr


def test_the_grace_is_that_of_the_settings():
    assert Settings().shutdown_grace == timedelta(seconds=25)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("workshed worker --thread 8", "No such option"),
        ("workshed worker --threads eight", "valid integer"),
        ("workshed relai", "No such command"),
        ("workshed console --host", "requires an argument"),
        ("periodiq --once actors", "end with 2"),
    ],
)
def test_a_command_that_would_fail_is_recognised(line, word):
    assert word in problem(line.split())
