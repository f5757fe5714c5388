"""The files that `workshed init` writes, read by the programs that will read them."""

import json
import os
import py_compile
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.root import ROOT
from workshed.console.cli.setup.init import write_files
from workshed.console.scaffold.dashboard import COLUMNS
from workshed.console.scaffold.render import render_service
from workshed.console.scaffold.service import ServiceNameError, new_service
from workshed.queues import Queue
from workshed.transport.build import CHAIN

OF_OPERATORS = {"keda.sh/v1alpha1", "monitoring.coreos.com/v1"}
"""Kubernetes itself has no schemas of them."""
SECRETS = {
    "RABBITMQ_PASSWORD": "r",
    "POSTGRES_PASSWORD": "p",
    "GRAFANA_PASSWORD": "g",
    "SECRET_KEY": "k" * 40,
    "CONSOLE_USERS": "olga",
}


@pytest.fixture(params=[True, False], ids=["rabbitmq", "postgresql"])
def rabbitmq(request):
    """Whether the service uses RabbitMQ; otherwise it runs on PostgreSQL alone."""
    return request.param


@pytest.fixture
def files(rabbitmq):
    return render_service(new_service("order-desk", rabbitmq=rabbitmq))


@pytest.fixture
def folder(files, tmp_path):
    write_files(tmp_path / "desk", files)
    return tmp_path / "desk"


def run(*words, **options):
    """Run a program; return its output, and fail with what it said."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def built(folder, kustomization):
    """Return the objects of one of its kustomizations."""
    said = run("kustomize", "build", str(folder / "deploy" / "kubernetes" / kustomization))
    return list(yaml.safe_load_all(said))


def test_nothing_is_left_to_fill_in_and_each_file_ends_with_its_line(files):
    for path, text in files.items():
        assert not re.search(
            r"\{@|@\}|^%%|NAME-|GROUP|PACKAGE|DOT\.", f"{path}\n{text}", re.MULTILINE
        ), path
        assert text.endswith("\n"), path
        assert not text.endswith("\n\n"), path
        assert "\n\n\n\n" not in text, path


def test_no_word_of_the_sample_service_is_in_them(files):
    words = re.compile(r"\b(shop|campaigns?|SHOP_\w+|shop_\w+|workshed\.env|workshed-\w+)\b")
    found = {path: words.findall(text) for path, text in files.items() if words.search(text)}

    assert found == {}


def test_without_rabbitmq_no_file_names_it():
    """One such line would send a newcomer to a server that is not there."""
    files = render_service(new_service("order-desk", rabbitmq=False))
    words = re.compile(r"rabbit|amqp|15672|WORKSHED_MANAGEMENT", re.IGNORECASE)

    found = {path: words.findall(text) for path, text in files.items() if words.search(path + text)}

    assert found == {}
    compose = yaml.safe_load(files["deploy/compose.yaml"])
    assert compose["services"]["worker"]["environment"]["WORKSHED_BROKER_URL"] == "postgresql:"
    assert "WORKSHED_BROKER_URL=postgresql:\n" in files["deploy/systemd/etc/order-desk.env"]


def test_without_rabbitmq_its_dashboard_has_no_gaps():
    files = render_service(new_service("order-desk", rabbitmq=False))
    panels = json.loads(files["deploy/grafana/dashboards/workshed.json"])["panels"]

    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len({*cells})
    lines = [
        sorted(x for x, line in cells if line == y) for y in range(max(y for _, y in cells) + 1)
    ]
    assert all(line == [*range(len(line))] and 0 < len(line) <= COLUMNS for line in lines)
    assert "Ready" in [panel["title"] for panel in panels]


def test_its_python_compiles_and_its_types_fit(folder):
    for path in folder.rglob("*.py"):
        py_compile.compile(str(path), doraise=True)
    env = {**os.environ, "MYPYPATH": f".{os.pathsep}{ROOT}"}

    said = run(sys.executable, "-m", "mypy", "--cache-dir", "cache", cwd=folder, env=env)

    assert said.startswith("Success")


def test_its_chain_is_the_librarys(folder):
    code = "from middleware import CHAIN; print(*(one.__name__ for one in CHAIN))"

    said = run(sys.executable, "-c", code, cwd=folder)

    assert said.split() == [one.__name__ for one in CHAIN]


def test_its_project_is_read_by_pip_and_pytest(folder):
    found = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))

    assert found["project"]["name"] == "order-desk"
    assert found["tool"]["workshed"]["app"] == "brokers.app:app"
    jobs = yaml.safe_load((folder / ".github" / "workflows" / "ci.yml").read_text("utf-8"))["jobs"]
    targets = {step["run"] for step in jobs["test"]["steps"] if "run" in step}
    makefile = (folder / "Makefile").read_text("utf-8")
    assert all(f"\n{target.removeprefix('make ')}: " in makefile for target in targets)


def test_docker_reads_its_compose_file(folder):
    (folder / "env").write_text("".join(f"{name}={value}\n" for name, value in SECRETS.items()))
    words = ["docker-compose", "--env-file", str(folder / "env")]

    said = run(
        *words, "--file", "deploy/compose.yaml", "config", cwd=folder, env={"PATH": "/usr/bin:/bin"}
    )

    services = yaml.safe_load(said)["services"]
    assert "clock" not in services
    assert services["worker"]["command"][:3] == ["workshed", "worker", "actors"]
    assert services["worker"]["image"] == "order-desk"
    lent = [one["source"] for each in services.values() for one in each.get("volumes", ())]
    assert [path for path in lent if path.startswith("/") and not Path(path).exists()] == []


def test_hadolint_has_nothing_against_its_dockerfile(folder):
    program = Path(sys.executable).with_name("hadolint")

    run(str(program), str(folder / "deploy" / "container" / "Dockerfile"))


@pytest.mark.parametrize("kustomization", ["base", "overlays/small", "overlays/large"])
def test_kubernetes_takes_its_objects(folder, kustomization):
    found = built(folder, kustomization)

    for one in found:
        if one["apiVersion"] not in OF_OPERATORS:
            kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
    assert {one["metadata"]["name"] for one in found if one["kind"] == "Deployment"} == {
        "relay",
        "console",
        "worker-main",
    }
    assert {one["metadata"].get("namespace", "order-desk") for one in found} == {"order-desk"}


def test_its_workers_scale_with_all_its_queues(tmp_path):
    """Its group names no queues, so it works on all of them."""
    queues = (Queue("default"), Queue("slow"))
    write_files(
        tmp_path / "desk", render_service(replace(new_service("order-desk"), queues=queues))
    )

    scalers = [
        one for one in built(tmp_path / "desk", "overlays/large") if one["kind"] == "ScaledObject"
    ]

    [scaler] = scalers
    assert scaler["spec"]["scaleTargetRef"] == {"name": "worker-main"}
    age, length = (one["metadata"] for one in scaler["spec"]["triggers"])
    assert age["query"] == (
        'max(workshed_oldest_waiting_seconds{namespace="order-desk", queue=~"default|slow"})'
    )
    assert length["queueName"] == "^(default|slow)$"


def test_its_alerts_reach_the_operator_under_the_job_they_name(folder, rabbitmq):
    found = built(folder, "overlays/large")

    [monitor] = [one for one in found if one["kind"] == "PodMonitor"]
    [rules] = [one for one in found if one["kind"] == "PrometheusRule"]
    own = yaml.safe_load((folder / "deploy" / "prometheus" / "rules.yml").read_text("utf-8"))
    assert rules["spec"] == own
    [renamed] = monitor["spec"]["podMetricsEndpoints"][0]["relabelings"]
    assert renamed["targetLabel"] == "job"
    expressions = [alert["expr"] for group in own["groups"] for alert in group["rules"]]
    job = renamed["replacement"]
    jobs = f'job=~"{job}|rabbitmq"' if rabbitmq else f'job="{job}"'
    assert f"up{{{jobs}}} == 0" in expressions


def test_systemd_takes_its_units(folder, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    units = folder / "deploy" / "systemd"
    for file in units.glob("*.service"):
        file.write_text(
            re.sub(r"/opt/order-desk/bin/\w+", str(program), file.read_text("utf-8")), "utf-8"
        )
    env = {**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:", "SYSTEMD_COLORS": "0"}

    for unit in ("order-desk-worker@main", "order-desk-relay", "order-desk-console"):
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", f"{unit}.service"],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert [line for line in done.stderr.splitlines() if "order-desk" in line] == []


def test_prometheus_reads_its_rules(folder, rabbitmq):
    rules = folder / "deploy" / "prometheus"

    run("promtool", "check", "config", str(rules / "prometheus.yml"))
    said = run("promtool", "check", "rules", str(rules / "rules.yml"))

    assert f"{16 if rabbitmq else 13} rules found" in said  # it sends no mails


@pytest.mark.parametrize(
    "name",
    [
        *("Desk", "2desk", "desk.", "", "d" * 32, "desk-", "desk_"),
        *("actors", "tests", "console", "relay", "mail", "root"),
        *("workshed", "workshed-desk", "pg-desk", "json", "class", "dramatiq", "psycopg"),
        *("user", "order", "public"),
    ],
)
def test_a_name_that_would_not_work_is_refused(name):
    with pytest.raises(ServiceNameError):
        new_service(name)


def test_a_name_that_ends_in_clock_loses_no_file():
    """Templates of a clock are left out by their names."""
    files = render_service(new_service("alarm-clock"))

    assert {"deploy/systemd/alarm-clock.target", "deploy/systemd/etc/alarm-clock.env"} <= {*files}
    assert "deploy/systemd/alarm-clock-clock.service" not in files


def test_a_folder_that_exists_is_left_alone(tmp_path):
    (tmp_path / "desk").mkdir()
    words = [sys.executable, "-m", "workshed", "init", "desk"]

    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "desk exists already" in done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "desk"]
