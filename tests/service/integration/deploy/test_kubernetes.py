"""The output of `kustomize build`, checked by Kubernetes' schemas, because there is no cluster.

Objects of KEDA and of the Prometheus operator have no schema here: their fields are checked.
"""

import functools
import re
import subprocess

import kubernetes_validate
import pytest
import yaml

from brokers.app import QUEUES
from tests.monitoring import RULES
from tests.root import ROOT
from tests.service.integration.deploy.lines import load, problem, queues, unknown
from workshed.console.web.server.clients import Proxies
from workshed.metrics import meters
from workshed.settings import PREFIX, Settings

FOLDER = ROOT / "deploy" / "kubernetes"
KUSTOMIZATIONS = ("base", "overlays/small", "overlays/large")
OF_OPERATORS = {"keda.sh/v1alpha1", "monitoring.coreos.com/v1"}
PARTS = {"relay", "clock", "console", "worker-quick", "worker-mail", "worker-heavy"}
LOCKED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
WRITTEN = {"/tmp", "/var/lib/workshed"}  # noqa: S108 -- in the container
LARGE = "overlays/large"
ADDITION_S = 20
# Fields of a PrometheusRule; an operator drops unknown fields or refuses the object.
GROUP = {"name", "interval", "rules"}
ALERT = {"alert", "expr", "for", "keep_firing_for", "labels", "annotations"}
SPAN = re.compile(r"([0-9]+h)?([0-9]+m)?([0-9]+s)?")


@functools.cache
def rendered(folder):
    """Return the objects of a kustomization."""
    done = subprocess.run(
        ["kustomize", "build", FOLDER / folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # it warns about deprecated fields
    return list(yaml.safe_load_all(done.stdout))


def named(folder, kind):
    return {one["metadata"]["name"]: one for one in rendered(folder) if one["kind"] == kind}


def pods(folder):
    """Return the pods of a kustomization, by the name of the object that creates them."""
    makers = named(folder, "Deployment") | named(folder, "Job")
    return {name: one["spec"]["template"] for name, one in makers.items()}


def containers(folder):
    return {
        (name, one["name"]): one
        for name, pod in pods(folder).items()
        for one in [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]
    }


def settings_of(folder):
    (found,) = named(folder, "ConfigMap").values()
    return found["data"]


def container(name, folder="base"):
    return pods(folder)[name]["spec"]["containers"][0]


def scalers():
    return named(LARGE, "ScaledObject")


def group(name):
    return sorted(queues(container(name)["args"]))


@pytest.mark.parametrize("folder", KUSTOMIZATIONS)
def test_each_object_of_kubernetes_fits_its_schema(folder):
    core = [one for one in rendered(folder) if one["apiVersion"] not in OF_OPERATORS]

    for one in core:
        kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
    assert {one["apiVersion"] for one in rendered(folder)} - {o["apiVersion"] for o in core} == (
        OF_OPERATORS if folder == LARGE else set()
    )


def test_a_misspelt_field_would_be_found():
    relay = yaml.safe_load(yaml.safe_dump(named("base", "Deployment")["relay"]))
    relay["spec"]["template"]["spec"]["terminationGracePeriodSecond"] = 20

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(relay, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("folder", KUSTOMIZATIONS)
def test_all_parts_are_there(folder):
    assert set(named(folder, "Deployment")) == PARTS
    assert set(named(folder, "Job")) == {"migrate"}
    assert {one["metadata"].get("namespace", "workshed") for one in rendered(folder)} == {
        "workshed"
    }


@pytest.mark.parametrize("folder", KUSTOMIZATIONS)
def test_each_command_is_one_that_its_program_takes(folder):
    wrong = {name: problem(one["args"]) for name, one in containers(folder).items()}

    assert set(wrong.values()) == {None}, wrong
    assert not any("command" in one for one in containers(folder).values())


@pytest.mark.parametrize("folder", KUSTOMIZATIONS)
def test_each_variable_is_a_setting_that_is_read(folder):
    assert unknown(settings_of(folder)) == set()
    load(settings_of(folder))
    assert all("env" not in one for one in containers(folder).values())


@pytest.mark.parametrize("folder", KUSTOMIZATIONS)
def test_the_console_trusts_the_network_of_the_ingress(folder):
    """Otherwise ten failed logins by one user would lock out all users."""
    assert Proxies.parse(settings_of(folder)["WORKSHED_CONSOLE_PROXIES"])


@pytest.mark.parametrize("folder", KUSTOMIZATIONS)
def test_the_groups_work_on_every_queue_once(folder):
    found = [
        queue
        for name in PARTS
        if name.startswith("worker")
        for queue in queues(container(name, folder)["args"])
    ]

    assert sorted(found) == sorted(queue.name for queue in QUEUES)


@pytest.mark.parametrize("folder", KUSTOMIZATIONS)
def test_no_pod_is_root_or_writes_but_to_its_own_folders(folder):
    for pod in pods(folder).values():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["volumes"] == [{"emptyDir": {}, "name": "tmp"}, {"emptyDir": {}, "name": "var"}]
    for one in containers(folder).values():
        assert one["securityContext"] == LOCKED
        assert {mount["mountPath"] for mount in one["volumeMounts"]} == WRITTEN
        assert one["resources"]["limits"]["memory"]
    (space,) = named(folder, "Namespace").values()
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("folder", KUSTOMIZATIONS)
def test_no_service_can_put_a_variable_into_a_pod(folder):
    """A service named `workshed` would add WORKSHED_SERVICE_HOST, which is refused as misspelt."""
    assert {pod["spec"]["enableServiceLinks"] for pod in pods(folder).values()} == {False}


@pytest.mark.parametrize("folder", KUSTOMIZATIONS)
def test_a_worker_in_a_pod_has_its_grace_period_and_a_reserve(folder):
    grace = load(settings_of(folder)).shutdown_grace.total_seconds()

    given = {
        pod["spec"]["terminationGracePeriodSeconds"]
        for name, pod in pods(folder).items()
        if name.startswith("worker")
    }
    assert min(given) >= grace + ADDITION_S


@pytest.mark.parametrize("folder", KUSTOMIZATIONS)
def test_a_new_pod_is_ready_before_an_old_one_stops(folder):
    strategies = [one["spec"]["strategy"] for one in named(folder, "Deployment").values()]

    assert all(one == {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}} for one in strategies)


@pytest.mark.parametrize("name", sorted(PARTS))
def test_its_probes_use_the_port_that_answers(name):
    one = container(name)
    ports = {port["name"]: port["containerPort"] for port in one["ports"]}
    asked = {
        kind: (
            one[f"{kind}Probe"]["httpGet"]["path"],
            ports[one[f"{kind}Probe"]["httpGet"]["port"]],
        )
        for kind in ("startup", "liveness", "readiness")
    }

    port = 8080 if name == "console" else Settings().metrics_port
    assert asked == {
        "startup": ("/livez", port),
        "liveness": ("/livez", port),
        "readiness": ("/readyz", port),
    }
    if name == "console":
        assert "--port=8080" in one["args"]


def test_a_pod_waits_for_the_job_that_migrates():
    first = {
        name: pod["spec"]["initContainers"][0]
        for name, pod in pods("base").items()
        if name in PARTS
    }

    assert {tuple(one["args"][:3]) for one in first.values()} == {
        ("workshed", "migrate", "--wait=10m")
    }
    assert all(one["args"][-1].startswith("--wait=") for one in first.values())
    job = named("base", "Job")["migrate"]["spec"]
    assert job["template"]["spec"]["restartPolicy"] == "OnFailure"
    assert job["template"]["spec"]["containers"][0]["args"] == first["relay"]["args"][:-1]


def test_each_part_has_a_secret_of_its_own():
    used = {
        name: [source["secretRef"]["name"] for source in one["envFrom"] if "secretRef" in source]
        for (name, _), one in containers("base").items()
    }

    assert used == {name: [name.partition("-")[0]] for name in [*PARTS, "migrate"]}
    assert not any(one["kind"] == "Secret" for one in rendered("base"))


@pytest.mark.parametrize("folder", KUSTOMIZATIONS)
def test_a_drained_node_takes_one_of_them_at_a_time(folder):
    budgets = named(folder, "PodDisruptionBudget")

    assert set(budgets) == {"relay", *(name for name in PARTS if name.startswith("worker"))}
    for name, one in budgets.items():
        assert one["spec"]["maxUnavailable"] == 1
        made = named(folder, "Deployment")[name]["spec"]
        assert one["spec"]["selector"] == made["selector"]
        labels = made["template"]["metadata"]["labels"].items()
        assert labels >= made["selector"]["matchLabels"].items()


def matches(selector, labels):
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(
        labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", ())
    )


@pytest.mark.parametrize("folder", KUSTOMIZATIONS)
def test_the_network_is_closed_but_for_what_each_part_needs(folder):
    policies = [one["spec"] for one in named(folder, "NetworkPolicy").values()]
    reach = {}
    for name, pod in pods(folder).items():
        of_pod = [one for one in policies if matches(one["podSelector"], pod["metadata"]["labels"])]
        assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in of_pod
        rules = [
            rule for one in of_pod for way in ("ingress", "egress") for rule in one.get(way, ())
        ]
        reach[name] = {port["port"] for rule in rules for port in rule["ports"]}

    servers = {53, 5432, 6432, 5671, 5672, 15671, 15672}
    assert reach["migrate"] == servers
    assert reach["relay"] == reach["clock"] == servers | {"metrics"}
    assert reach["console"] == servers | {"http", 443}
    assert reach["worker-mail"] == servers | {"metrics", 443, 465, 587}


def test_the_service_leads_to_the_console():
    (service,) = named("base", "Service").values()

    labels = pods("base")["console"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert service["spec"]["ports"][0]["targetPort"] in {
        one["name"] for one in container("console")["ports"]
    }
    assert not service["metadata"]["name"].startswith(PREFIX.lower())


def test_keda_scales_each_group_and_an_apply_does_not():
    assert {one["spec"]["scaleTargetRef"]["name"] for one in scalers().values()} == {
        name for name in PARTS if name.startswith("worker")
    }
    deployments = named(LARGE, "Deployment")
    assert all("replicas" not in deployments[name]["spec"] for name in scalers())
    assert all(one["spec"]["minReplicaCount"] >= 1 for one in scalers().values())


@pytest.mark.parametrize("name", sorted(name for name in PARTS if name.startswith("worker")))
def test_it_scales_by_the_longest_wait(name):
    age = next(one for one in scalers()[name]["spec"]["triggers"] if one["type"] == "prometheus")

    metric, expression = re.fullmatch(
        r'max\((\w+)\{namespace="workshed", queue=~"(.+)"\}\)', age["metadata"]["query"]
    ).groups()
    assert metric in {one.full_name for one in meters.ALL}
    assert sorted(expression.split("|")) == group(name)
    assert float(age["metadata"]["threshold"]) > 0


@pytest.mark.parametrize("name", sorted(name for name in PARTS if name.startswith("worker")))
def test_it_scales_by_the_length_of_queues_over_http(name):
    """Over AMQP, KEDA would count only ready messages, and remove busy workers."""
    (length,) = (one for one in scalers()[name]["spec"]["triggers"] if one["type"] == "rabbitmq")
    said = length["metadata"]

    assert (said["protocol"], said["mode"]) == ("http", "QueueLength")
    assert "excludeUnacknowledged" not in said
    assert (said["useRegex"], said["operation"]) == ("true", "sum")
    chosen = [one for one in QUEUES if re.search(said["queueName"], one.name)]
    assert sorted(one.name for one in chosen) == group(name)
    assert not any(re.search(said["queueName"], one.dead_name) for one in QUEUES)
    threads = int(
        next(one for one in container(name)["args"] if "threads" in one).partition("=")[2]
    )
    assert int(said["value"]) == 2 * threads
    asked = length["authenticationRef"]["name"]
    (host,) = named(LARGE, "TriggerAuthentication")[asked]["spec"]["secretTargetRef"]
    assert host["parameter"] == "host"


def test_prometheus_scrapes_each_part_under_the_name_in_the_rules():
    (monitor,) = named(LARGE, "PodMonitor").values()
    endpoint = monitor["spec"]["podMetricsEndpoints"][0]

    scraped = {
        name
        for name, pod in pods(LARGE).items()
        if matches(monitor["spec"]["selector"], pod["metadata"]["labels"])
    }
    assert scraped == PARTS - {"console"}
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "workshed"}]
    assert all(endpoint["port"] in {p["name"] for p in container(n)["ports"]} for n in scraped)


def test_the_alerts_of_prometheus_reach_its_operator():
    (found,) = named(LARGE, "PrometheusRule").values()

    groups = [group for one in RULES for group in yaml.safe_load(one.read_text("utf-8"))["groups"]]
    assert found["spec"] == {"groups": groups}
    assert [group["name"] for group in groups] == ["workshed", "shop"]


def test_each_alert_has_the_fields_that_the_operator_knows():
    (found,) = named(LARGE, "PrometheusRule").values()

    assert found.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert found["spec"].keys() == {"groups"}
    for group in found["spec"]["groups"]:
        assert {"name", "rules"} <= group.keys() <= GROUP
        for alert in group["rules"]:
            assert {"alert", "expr"} <= alert.keys() <= ALERT
            assert SPAN.fullmatch(alert.get("for", "0s"))
            texts = [alert["expr"], *alert["labels"].values(), *alert["annotations"].values()]
            assert {type(one) for one in texts} == {str}
