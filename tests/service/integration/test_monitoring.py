"""The rules and dashboards of `deploy/`, as Prometheus and Grafana read them."""

import json
from urllib.parse import urlsplit

import pytest
import yaml

from tests import monitoring, pages
from tests.monitoring import BOARDS, FOLDER, GRAFANA, ROOT, RULES, promtool
from tests.service.unit.test_pages import headings

ALERTS = {one["alert"]: one for one in monitoring.rules()}
STRICT = ("--lint=all", "--lint-fatal")
SCRAPED = pages.block("docs/metrics.md", "scrape_configs")
QUESTIONS = pages.block("docs/metrics.md", "# Share of attempts")


# Rules


def test_promtool_finds_nothing_wrong_with_the_rules_and_the_configuration():
    for words in (("rules", *STRICT, *map(str, RULES)), ("config", str(FOLDER / "prometheus.yml"))):
        code, said = promtool("check", *words)
        assert code == 0, said


def test_each_alert_fires_when_its_time_is_over_and_no_sooner():
    code, said = promtool("test", "rules", str(FOLDER / "rules_test.yml"))

    assert code == 0, said


def test_each_alert_is_seen_to_fire_and_to_be_silent():
    cases = yaml.safe_load((FOLDER / "rules_test.yml").read_text("utf-8"))["tests"]
    found = [one for case in cases for one in case["alert_rule_test"]]

    assert {one["alertname"] for one in found if one["exp_alerts"]} == ALERTS.keys()
    assert {one["alertname"] for one in found if not one["exp_alerts"]} == ALERTS.keys()


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_says_how_bad_it_is_and_leads_to_what_to_do(name):
    alert = ALERTS[name]
    page, _, part = alert["annotations"]["runbook_url"].partition("#")

    assert alert["labels"]["severity"] in {"warning", "critical"}
    assert alert["annotations"]["summary"]
    assert part == name.lower()
    assert page == "{{ $externalLabels.runbooks }}"
    assert part in headings((ROOT / "docs" / "runbooks.md").read_text("utf-8"))


def test_the_address_of_the_runbooks_is_absolute_and_stands_in_one_place():
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text("utf-8"))
    address = urlsplit(config["global"]["external_labels"]["runbooks"])
    cases = yaml.safe_load((FOLDER / "rules_test.yml").read_text("utf-8"))["tests"]
    links = [
        alert["exp_annotations"]["runbook_url"]
        for case in cases
        for one in case["alert_rule_test"]
        for alert in one["exp_alerts"]
    ]

    assert address.scheme == "https"
    assert address.netloc
    assert len(links) >= len(ALERTS)
    assert all(link.startswith(f"{address.geturl()}#workshed") for link in links)


def test_the_runbooks_have_no_alert_that_there_is_not():
    found = headings((ROOT / "docs" / "runbooks.md").read_text("utf-8"))

    assert {one for one in found if one.startswith("workshed")} == {one.lower() for one in ALERTS}


def test_promtool_accepts_the_pages_configuration_and_queries(tmp_path):
    """A query may continue in the next line, which is then indented."""
    config = tmp_path / "prometheus.yml"
    config.write_text(SCRAPED)
    lines = [line for line in QUESTIONS.splitlines() if line and line[0] != "#"]
    asked = "\n".join(lines).replace("\n ", " ").splitlines()
    file = tmp_path / "questions.yml"
    rules = [{"record": f"question:{n}", "expr": expr} for n, expr in enumerate(asked)]
    file.write_text(json.dumps({"groups": [{"name": "questions", "rules": rules}]}))

    assert promtool("check", "config", str(config))[0] == 0
    code, said = promtool("check", "rules", str(file))

    assert code == 0, said
    assert f"{len(asked)} rules found" in said


# Dashboards


@pytest.fixture(params=BOARDS, ids=lambda path: path.stem)
def board(request):
    return monitoring.board(request.param)


def test_promtool_can_read_each_query(tmp_path):
    """Each query is put into a rule, with its variables replaced."""
    written = [
        {"record": f"query:{number}", "expr": query.plain}
        for number, query in enumerate(monitoring.queries())
    ]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": written}]}))

    code, said = promtool("check", "rules", str(file))

    assert code == 0, said
    assert f"{len(written)} rules found" in said


def test_a_dashboard_is_found_by_its_uid_and_asks_whichever_prometheus_is_chosen(board):
    assert board["uid"] in {"workshed", "shop"}
    assert board["schemaVersion"] == 39
    assert "__inputs" not in board
    variables = {one["name"]: one for one in board["templating"]["list"]}
    assert list(variables) == ["datasource", "queue", "actor", "instance"]
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    asking = [*board["panels"], *list(variables.values())[1:], *board["annotations"]["list"]]
    assert all(one["datasource"] == chosen for one in asking if one.get("type") != "row")


def test_panels_stand_in_rows_and_not_on_each_other(board):
    rows = [one["title"] for one in board["panels"] if one["type"] == "row"]
    assert (
        rows
        == {
            "workshed": [
                *("Overview", "Queues", "Actors", "Workers", "Relay", "Broker"),
                "PostgreSQL alone",
            ],
            "shop": ["Overview"],
        }[board["uid"]]
    )
    ids = [one["id"] for one in board["panels"]]
    assert len(set(ids)) == len(ids)
    cells = [
        (x, y)
        for at in (one["gridPos"] for one in board["panels"])
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_a_dashboard_leads_to_those_of_rabbitmq(board):
    assert {one.get("url") or one["tags"][0] for one in board["links"]} == {
        "https://grafana.com/grafana/dashboards/10991",
        "rabbitmq-prometheus",
    }


def test_the_provisioning_of_grafana_finds_prometheus_and_the_dashboards():
    read = {
        path.parent.name: yaml.safe_load(path.read_text("utf-8"))
        for path in (GRAFANA / "provisioning").glob("*/*.yml")
    }

    (source,) = read["datasources"]["datasources"]
    (provider,) = read["dashboards"]["providers"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
