"""The Prometheus and Grafana files of `deploy/`, and a Prometheus that uses them."""

import contextlib
import http.client
import json
import re
import subprocess
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import yaml

from tests.root import ROOT
from workshed.devserver.ports import HOST, find_free_ports

FOLDER = ROOT / "deploy" / "prometheus"
RULES = (FOLDER / "rules.yml", FOLDER / "shop-rules.yml")
GRAFANA = ROOT / "deploy" / "grafana"
BOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
NAME = re.compile(r"\b(?:workshed|shop|rabbitmq)_\w+")
VARIABLE = re.compile(r"\$(?:\{\w+\}|\w+)")
SHORT_S = 30
"""Longest `for:` of an alert that tests wait for; a longer one is replaced by 2 s."""


def rules():
    """Return all alerts as written."""
    groups = [group for one in RULES for group in yaml.safe_load(one.read_text("utf-8"))["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def board(path):
    return json.loads(path.read_text("utf-8"))


def panels(path):
    return [one for one in board(path)["panels"] if one["type"] != "row"]


@dataclass(frozen=True)
class Query:
    """The query of a dashboard panel."""

    panel: str
    expr: str

    @property
    def plain(self):
        """Return it as Grafana sends it, with all queues, actors and instances selected."""
        return VARIABLE.sub(lambda found: VALUES[found[0]], self.expr)


VALUES = {"$queue": ".*", "$actor": ".*", "$instance": ".*", "$__rate_interval": "1m"}


def queries():
    """Return all queries of the dashboards."""
    return [
        Query(panel["title"], target["expr"])
        for path in BOARDS
        for panel in panels(path)
        for target in panel["targets"]
    ]


def metrics(exprs):
    """Return the names of the metrics they use, ours and RabbitMQ's."""
    return {name for expr in exprs for name in NAME.findall(expr)}


def seconds(span):
    """Return the number of seconds in `30s` or `5m`."""
    return int(span[:-1]) * {"s": 1, "m": 60}[span[-1]]


def promtool(*words):
    """Run `promtool` and return its exit code and output."""
    done = subprocess.run(
        ["promtool", *words], capture_output=True, text=True, timeout=240, check=False
    )
    return done.returncode, done.stdout + done.stderr


class Prometheus:
    """A server on its own port that scrapes and evaluates rules every second."""

    def __init__(self, folder, targets):
        """Take `targets`: ports on this machine by the name of their job."""
        self.port = find_free_ports(1)[0]
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
        """Return all metrics that it has ever scraped."""
        return set(self._ask("label/__name__/values"))

    def result(self, expr):
        """Return the current answer to a query."""
        return self._ask(f"query?{urlencode({'query': expr}, quote_via=quote)}")["result"]

    def firing(self):
        """Return the names of the firing alerts."""
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
