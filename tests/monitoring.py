"""What `deploy/` has for Prometheus and Grafana, and a Prometheus that runs it."""

import contextlib
import http.client
import json
import re
import subprocess
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import yaml

from tests.root import ROOT
from workshed.devserver.ports import HOST, free_ports

FOLDER = ROOT / "deploy" / "prometheus"
RULES = FOLDER / "rules.yml"
GRAFANA = ROOT / "deploy" / "grafana"
BOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
NAME = re.compile(r"\b(?:workshed|shop|rabbitmq)_\w+")
VARIABLE = re.compile(r"\$(?:\{\w+\}|\w+)")
SHORT_S = 30
"""What is to last for longer before it is an alert, need not in a test."""


def rules():
    """All alerts, as they are written."""
    (group,) = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return group["rules"]


def board(path):
    return json.loads(path.read_text("utf-8"))


def panels(path):
    return [one for one in board(path)["panels"] if one["type"] != "row"]


@dataclass(frozen=True)
class Query:
    """What a panel of a dashboard asks."""

    panel: str
    expr: str

    @property
    def plain(self):
        """As Grafana sends it, with all queues, actors and instances chosen."""
        return VARIABLE.sub(lambda found: VALUES[found[0]], self.expr)


VALUES = {"$queue": ".*", "$actor": ".*", "$instance": ".*", "$__rate_interval": "1m"}


def queries():
    """All that dashboards ask."""
    return [
        Query(panel["title"], target["expr"])
        for path in BOARDS
        for panel in panels(path)
        for target in panel["targets"]
    ]


def metrics(exprs):
    """The names of what they ask for, ours and RabbitMQ's."""
    return {name for expr in exprs for name in NAME.findall(expr)}


def seconds(span):
    """How long `30s` or `5m` is."""
    return int(span[:-1]) * {"s": 1, "m": 60}[span[-1]]


def promtool(*words):
    """Run it; its exit code and words."""
    done = subprocess.run(
        ["promtool", *words], capture_output=True, text=True, timeout=240, check=False
    )
    return done.returncode, done.stdout + done.stderr


class Prometheus:
    """A server on a port of its own, which looks and decides every second."""

    def __init__(self, folder, targets):
        """`targets`: ports on this machine by the name of their job."""
        self.port = free_ports(1)[0]
        self._folder = folder
        self._targets = targets

    def __enter__(self):
        (self._folder / "rules.yml").write_text(json.dumps({"groups": [self._group()]}))
        config = self._folder / "prometheus.yml"
        config.write_text(json.dumps(self._config()))
        self._log = (self._folder / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address={HOST}:{self.port}",
            ],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(60)
        self._log.close()

    def is_ready(self):
        assert self._process.poll() is None, (self._folder / "prometheus.log").read_text()
        with contextlib.suppress(OSError):
            return self._get("/-/ready")[0] == 200
        return False

    def names(self):
        """All metrics that it has ever seen."""
        return set(self._ask("label/__name__/values"))

    def result(self, expr):
        """What it answers now."""
        return self._ask(f"query?{urlencode({'query': expr}, quote_via=quote)}")["result"]

    def firing(self):
        """The names of the alerts that fire."""
        found = self._ask("alerts")["alerts"]
        return {one["labels"]["alertname"] for one in found if one["state"] == "firing"}

    def _group(self):
        short = [
            one | {"for": "2s"} if seconds(one.get("for", "0s")) > SHORT_S else one
            for one in rules()
        ]
        return {"name": "workshed", "rules": short}

    def _config(self):
        jobs = [
            {
                "job_name": name,
                "static_configs": [{"targets": [f"{HOST}:{port}" for port in ports]}],
            }
            for name, ports in self._targets.items()
        ]
        often = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        return {"global": often, "rule_files": ["rules.yml"], "scrape_configs": jobs}

    def _ask(self, path):
        status, text = self._get(f"/api/v1/{path}")
        assert status == 200, f"{path}: {text}"
        return json.loads(text)["data"]

    def _get(self, path):
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
