"""`workshed broker definitions`: RabbitMQ imports them, and each account may do its part only."""

import contextlib
import http.client
import itertools
import json
import re
import secrets
import tempfile
from base64 import b64encode
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import pika
import pytest
from pika.exceptions import (
    AMQPError,
    ChannelClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from tests.forbidden import PARTS, may, operations, refusal
from tests.library.queues import QUEUES
from workshed.devserver import install
from workshed.devserver.rabbitmq import USER, RabbitMQServer
from workshed.devserver.state import lock_temporary_folder
from workshed.transport.amqp.accounts import BrokerAccount, build_accounts, rabbitmq_password_hash
from workshed.transport.amqp.arguments import EXCHANGE, parse_version
from workshed.transport.amqp.definitions import build_definitions

MAIL = ("emails", "bulk")


class Imported:
    """Definitions with an account for all workers and for two pools, on the server of the tests."""

    def __init__(self, servers):
        self.node, self.server = servers.rabbitmq, servers.broker_url
        self.at = urlsplit(servers.management_url)
        self.vhost = self.prefix = f"accounts_{secrets.token_hex(4)}"
        rest = [queue.name for queue in QUEUES if queue.name not in MAIL]
        pools = ({}, {"mail": MAIL, "rest": rest})
        each = [build_accounts([q.name for q in QUEUES], one, self.prefix) for one in pools]
        people = list(dict.fromkeys(itertools.chain(*each)))
        self.passwords = {one.name: secrets.token_urlsafe(8) for one in people}
        self.made = build_definitions(self.vhost, QUEUES, people, self.passwords, self.version())

    def version(self):
        return parse_version(json.loads(self.ask("GET", "overview")[1])["rabbitmq_version"])

    def take_by_command(self):
        with tempfile.TemporaryDirectory(prefix="workshed-definitions-") as name:
            Path(name).chmod(0o755)  # RabbitMQ reads it as another user
            file = Path(name) / "definitions.json"
            file.write_text(json.dumps(self.made))
            self.node.ctl("import_definitions", str(file))

    def login(self, part):
        name = f"{self.prefix}-{part}"
        return f"{name}:{self.passwords[name]}"

    def url(self, part, vhost=None):
        place = urlsplit(self.server).netloc.rpartition("@")[2]
        path = f"/{quote(vhost or self.vhost, '')}"
        netloc = f"{self.login(part)}@{place}"
        return urlunsplit(urlsplit(self.server)._replace(netloc=netloc, path=path))

    def ask(self, method, path, body=None, login=None):
        """Return code and text of an answer of the management API, by default as administrator."""
        basic = b64encode((login or f"{self.at.username}:{self.at.password}").encode()).decode()
        headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection(self.at.hostname, self.at.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, f"/api/{path}", json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()


@contextlib.contextmanager
def importing(servers):
    """Import them by `rabbitmqctl import_definitions`; remove them at the end of the block."""
    found = Imported(servers)
    found.take_by_command()
    yield found
    found.ask("DELETE", f"vhosts/{found.vhost}")
    for user in found.passwords:
        found.ask("DELETE", f"users/{user}")


@pytest.fixture(scope="module")
def imported(servers):
    """One import for all tests."""
    with importing(servers) as found:
        yield found


@pytest.fixture(scope="module")
def connection(imported):
    """`connection("sender")`: a connection of that account, shared by all tests."""
    found = {}

    def connect(part):
        if part not in found or not found[part].is_open:
            found[part] = pika.BlockingConnection(pika.URLParameters(imported.url(part)))
        return found[part]

    yield connect
    for each in found.values():
        with contextlib.suppress(AMQPError):  # RabbitMQ may have given up an idle one
            each.close()


@pytest.fixture
def channel(connection):
    """`channel("sender")`: a channel of that account with publisher confirms."""

    def open_one(part):
        try:
            found = connection(part).channel()
        except AMQPError:
            found = connection(part).channel()
        found.confirm_delivery()
        return found

    return open_one


SHOWN = [queue for queue in QUEUES if queue.name in ("emails", "low")]
OPERATIONS = operations(*SHOWN)
MAY = may(*SHOWN)


@pytest.mark.parametrize("part", PARTS)
def test_an_account_may_do_its_part_and_nothing_else(channel, part):
    """With the pattern `.*` for any of the three rights, operations outside `MAY` would succeed."""
    expected = {
        operation: None if operation in MAY[part] else refusal(part, operation)
        for operation in OPERATIONS
    }

    answers = {name: refusal_of(operation, channel(part)) for name, operation in OPERATIONS.items()}

    assert answers == expected


def refusal_of(operation, channel):
    """Return the code with which RabbitMQ refuses an operation, or `None` if it succeeds."""
    try:
        operation(channel)
    except ChannelClosedByBroker as err:
        return err.reply_code
    channel.close()
    return None


@pytest.mark.parametrize("part", PARTS)
def test_every_account_may_see_the_depth_of_a_queue(channel, part):
    """RabbitMQ requires no right for it, so `workshed queues` needs none."""
    assert channel(part).queue_declare("low", passive=True).method.message_count >= 0


@pytest.mark.parametrize("part", [part for part in PARTS if part != "monitor"])
def test_every_sender_may_see_that_the_exchange_exists(channel, part):
    """The monitor may see it on RabbitMQ 4.0 to 4.2; from 4.3 on it needs some right to it."""
    channel(part).exchange_declare(EXCHANGE, passive=True)


@pytest.mark.parametrize("part", PARTS)
def test_each_account_may_wait_for_replies_that_no_account_may_send(channel, part):
    """RabbitMQ requires no right to consume from this pseudo-queue, but one to publish to it."""
    waiting = channel(part)
    waiting.basic_consume("amq.rabbitmq.reply-to", lambda *_: None, auto_ack=True)

    with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
        waiting.basic_publish("", "amq.rabbitmq.reply-to.of-another", b"{}")


@pytest.mark.parametrize("part", PARTS)
def test_no_account_gets_into_another_virtual_host(imported, part):
    with pytest.raises(ProbableAccessDeniedError):
        pika.BlockingConnection(pika.URLParameters(imported.url(part, "/")))


@pytest.fixture(scope="module")
def routes(imported):
    """All paths of the management API of this node, as it names them: `/vhosts/:vhost`."""
    said = imported.node.ctl("eval", "rabbit_mgmt_dispatcher:dispatcher().")
    return set(re.findall(r'{"(/[^"]+)"', said))


@contextlib.contextmanager
def asking(imported, eventually):
    """`ask("monitor", "GET", "/queues/:vhost")`: code and text of an answer of the API.

    Without a part, as an administrator. `worker-rest` has a connection, and consumes from `low`.
    """
    url = pika.URLParameters(imported.url("worker-rest"))
    url.heartbeat = 0  # nothing would answer them

    def consuming():
        """Return the channels of consumers, which appear in the API with a delay."""
        listed = json.loads(imported.ask("GET", f"consumers/{imported.vhost}")[1])
        return [one["channel_details"] for one in listed if one["channel_details"]]

    connection = pika.BlockingConnection(url)
    connection.channel().basic_consume("low", lambda *_: None)
    name = eventually(consuming)[0]["connection_name"]
    words = {
        "vhost": imported.vhost,
        "node": imported.node.node,
        "exchange": EXCHANGE,
        "source": EXCHANGE,
        "queue": "low",
        "destination": "low",
        "dtype": "q",
        "props": "low",
        "connection": name,
        "channel": f"{name} (1)",
        "username": f"{imported.prefix}-worker-rest",
        "component": "shovel",
        "within": 1,
        "unit": "weeks",
        "port": url.port,
        "protocol": "amqp",
        "mine": f"{imported.prefix}-mine",
    }

    def ask(part, method, route, body=None):
        known = words | {"user": f"{imported.prefix}-{part or 'relay'}"}
        path = re.sub(r":(\w+)", lambda word: quote(str(known.get(word[1], "mine")), ""), route)
        return imported.ask(method, path[1:], body, part and imported.login(part))

    yield ask
    with contextlib.suppress(AMQPError):  # an administrator may have closed it
        connection.close()


@pytest.fixture(scope="module")
def api(imported, eventually):
    """One connection for all tests."""
    with asking(imported, eventually) as ask:
        yield ask


CHANGING = ("PUT", "POST", "DELETE")
REFUSED_BY_API = {401, 405}
"""Unauthorized, or not allowed for any account."""
LET_IN = {
    ("POST", "/exchanges/:vhost/:exchange/publish"),
    ("POST", "/queues/:vhost/:queue/get"),
}
"""Requests that the API lets through, and AMQP refuses."""
EVERYBODYS = {
    "/auth", "/version",
    # For load balancers, from RabbitMQ 4.3 on: whether the node is healthy, and nothing else.
    "/health/checks/below-node-connection-limit", "/health/checks/is-in-service",
    "/health/checks/reached-target-cluster-size", "/health/checks/ready-to-serve-clients",
}  # fmt: skip
SEEN = EVERYBODYS | {
    "/overview", "/cluster-name", "/extensions", "/whoami",
    "/vhosts", "/vhosts/:vhost/connections", "/vhosts/:vhost/channels",
    "/exchanges", "/exchanges/:vhost", "/exchanges/:vhost/:exchange",
    "/exchanges/:vhost/:exchange/bindings/source",
    "/exchanges/:vhost/:exchange/bindings/destination",
    "/queues", "/queues/detailed", "/queues/:vhost", "/queues/:vhost/:queue",
    "/queues/:vhost/:destination/bindings", "/queues/quorum/:vhost/:queue/status",
    "/bindings", "/bindings/:vhost", "/bindings/:vhost/e/:source/:dtype/:destination",
    "/bindings/:vhost/e/:source/:dtype/:destination/:props",
    "/connections", "/channels", "/consumers", "/consumers/:vhost",
    "/policies", "/policies/:vhost", "/operator-policies", "/operator-policies/:vhost",
    "/vhost-limits", "/vhost-limits/:vhost", "/user-limits", "/user-limits/:user",
    "/feature-flags", "/deprecated-features", "/deprecated-features/used",
    "/healthchecks/node", "/healthchecks/node/:node",
    "/health/checks/alarms", "/health/checks/local-alarms", "/health/checks/virtual-hosts",
    "/health/checks/node-is-quorum-critical", "/health/checks/port-listener/:port",
    "/health/checks/protocol-listener/:protocol",
    "/health/checks/certificate-expiration/:within/:unit",
}  # fmt: skip
"""Seen by the monitor. A path that is neither here nor refused is new in RabbitMQ: decide."""
SEEN_FROM_4_3 = {
    "/aliveness-test/:vhost", "/users/:user/queues",
    "/health/checks/metadata-store/initialized",
    "/health/checks/metadata-store/initialized/with-data",
    "/health/checks/protocol-listener/:protocols",
    "/health/checks/quorum-queues-without-elected-leaders/all-vhosts/",
    "/health/checks/quorum-queues-without-elected-leaders/all-vhosts/pattern/:pattern",
    "/health/checks/quorum-queues-without-elected-leaders/vhost/:vhost/",
    "/health/checks/quorum-queues-without-elected-leaders/vhost/:vhost/pattern/:pattern",
}  # fmt: skip
"""The queues of a user are those of its own connection."""
GETS = {"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}
MESSAGE = {"properties": {}, "routing_key": "low", "payload": "{}", "payload_encoding": "string"}
RIGHTS = {"write": ".*", "read": ".*"}
SHORT = {"pattern": "", "definition": {"max-length": 1}}
DEEDS_OF_API = {
    "read a message": ("POST", "/queues/:vhost/low/get", GETS),
    "publish": ("POST", "/exchanges/:vhost/workshed.jobs/publish", MESSAGE),
    "purge": ("DELETE", "/queues/:vhost/low/contents", None),
    "bind a queue": ("POST", "/bindings/:vhost/e/:source/q/low", {"routing_key": "x"}),
    "bind an exchange": ("POST", "/bindings/:vhost/e/:source/e/amq.fanout", {"routing_key": "x"}),
    "unbind a queue": ("DELETE", "/bindings/:vhost/e/:source/q/low/low", None),
    "make a queue": ("PUT", "/queues/:vhost/mine", {"durable": True}),
    "delete a queue": ("DELETE", "/queues/:vhost/low", None),
    "make an exchange": ("PUT", "/exchanges/:vhost/mine", {"type": "direct"}),
    "delete an exchange": ("DELETE", "/exchanges/:vhost/workshed.jobs", None),
    "make a policy": ("PUT", "/policies/:vhost/all", SHORT),
    "see a policy": ("GET", "/policies/:vhost/all", None),
    "drop a policy": ("DELETE", "/policies/:vhost/all", None),
    "make an operator policy": ("PUT", "/operator-policies/:vhost/all", SHORT),
    "drop an operator policy": ("DELETE", "/operator-policies/:vhost/all", None),
    "set a parameter": (
        "PUT",
        "/parameters/vhost-limits/:vhost/limits",
        {"value": {"max-queues": 99}},
    ),
    "see parameters": ("GET", "/parameters", None),
    "drop a parameter": ("DELETE", "/parameters/vhost-limits/:vhost/limits", None),
    "set a global parameter": ("PUT", "/global-parameters/:mine", {"value": 1}),
    "see global parameters": ("GET", "/global-parameters", None),
    "drop a global parameter": ("DELETE", "/global-parameters/:mine", None),
    "limit a virtual host": ("PUT", "/vhost-limits/:vhost/max-queues", {"value": 99}),
    "lift the limit of a virtual host": ("DELETE", "/vhost-limits/:vhost/max-queues", None),
    "limit an account": ("PUT", "/user-limits/:user/max-channels", {"value": 99}),
    "lift the limit of an account": ("DELETE", "/user-limits/:user/max-channels", None),
    "give a right": ("PUT", "/permissions/:vhost/:user", RIGHTS | {"configure": ".*"}),
    "take a right": ("DELETE", "/permissions/:vhost/:username", None),
    "give a right on topics": (
        "PUT",
        "/topic-permissions/:vhost/:user",
        RIGHTS | {"exchange": "amq.topic"},
    ),
    "take a right on topics": ("DELETE", "/topic-permissions/:vhost/:user", None),
    "see rights": ("GET", "/permissions", None),
    "see accounts": ("GET", "/users", None),
    "make an account": ("PUT", "/users/:mine", {"password": "x", "tags": "administrator"}),
    "delete an account": ("DELETE", "/users/:mine", None),
    "make an administrator of itself": ("PUT", "/users/:user", {"tags": "administrator"}),
    "export definitions": ("GET", "/definitions", None),
    "export definitions of a virtual host": ("GET", "/definitions/:vhost", None),
    "import definitions": ("POST", "/definitions", {"users": []}),
    "import definitions of a virtual host": ("POST", "/definitions/:vhost", {"queues": []}),
    "see the nodes": ("GET", "/nodes", None),
    "close the connection of a user": ("DELETE", "/connections/:connection", None),
    "close all connections of a user": ("DELETE", "/connections/username/:username", None),
    "make a virtual host": ("PUT", "/vhosts/:mine", {}),
    "delete a virtual host": ("DELETE", "/vhosts/:mine", None),
    "delete several accounts": ("POST", "/users/bulk-delete", {"users": []}),
}
"""In an order in which an administrator may do all of them."""


@pytest.mark.parametrize("part", PARTS)
def test_no_account_changes_anything_by_the_management_api(api, part):
    answers = {deed: api(part, *words) for deed, words in DEEDS_OF_API.items()}

    # Requests that the API lets through go to AMQP, and are refused there.
    assert not {
        deed: (code, said)
        for deed, (code, said) in answers.items()
        if code != 401 and not (code == 400 and "ACCESS_REFUSED" in said)
    }


def test_an_administrator_may_do_all_of_that(servers, eventually):
    """This proves that none of the requests above is refused because of its form."""
    with importing(servers) as found, asking(found, eventually) as ask:
        all_of = RIGHTS | {"configure": ".*"}
        found.ask("PUT", f"permissions/{found.vhost}/{found.at.username}", all_of)
        codes = {deed: ask(None, *words)[0] for deed, words in DEEDS_OF_API.items()}

    assert {deed: code for deed, code in codes.items() if not 200 <= code < 300} == {}


@pytest.mark.parametrize("part", PARTS)
def test_all_that_the_management_api_can_change_is_refused(api, routes, part):
    """All paths of the node are tried; `DEEDS_OF_API` tries those let through, with a real body."""
    let_in = {
        (method, route)
        for route in routes
        for method in CHANGING
        if api(part, method, route, {})[0] not in REFUSED_BY_API
    }

    everybodys = {("DELETE", "/login")}  # from RabbitMQ 4.3 on: it logs the caller out
    assert let_in - everybodys == (LET_IN if part == "monitor" else set())


@pytest.mark.parametrize("part", PARTS)
def test_only_the_monitor_sees_anything_and_it_sees_what_is_listed(imported, api, routes, part):
    codes = {route: api(part, "GET", route)[0] for route in routes}

    seen = {route for route, code in codes.items() if code not in REFUSED_BY_API}
    newer = imported.version() >= (4, 3)
    # From 4.3 on the monitor may not see the limits of all accounts.
    monitors = (SEEN | SEEN_FROM_4_3) - {"/user-limits"} if newer else SEEN
    assert seen == (monitors if part == "monitor" else EVERYBODYS) & routes
    # New paths may find no such queue, and a busy node may report that it is not healthy.
    answers = {route: codes[route] for route in seen - SEEN_FROM_4_3 if "/health" not in route}
    assert set(answers.values()) == {200}


def test_the_monitor_learns_of_others_who_consumes_from_a_queue_it_names(api, routes, imported):
    """Its lists of connections, channels and consumers show only its own."""
    others = [imported.prefix + f"-{part}" for part in PARTS if part != "monitor"]

    said = {route: api("monitor", "GET", route)[1] for route in SEEN & routes}

    named = {route for route, text in said.items() if any(name in text for name in others)}
    assert named == {"/queues/:vhost/:queue"}


def test_imported_queues_are_as_declared(workshed, env, imported, broker, monkeypatch, servers):
    """In definitions written by hand, a single different argument would stop each worker."""
    monkeypatch.setattr(broker, "urls", [imported.url("monitor")])
    place = urlsplit(servers.management_url).netloc.rpartition("@")[2]
    env(MANAGEMENT_URL=f"http://{imported.login('monitor')}@{place}")

    done = workshed("broker", "check")

    assert (done.code, done.out) == (0, f"{len(QUEUES)} queues exist as declared\n")


@pytest.mark.exhaustive
def test_a_node_without_data_boots_with_the_definitions(rabbitmq):
    """A container uses `load_definitions`, with which RabbitMQ makes no `guest`."""
    with lock_temporary_folder() as state:
        node = Loading(state, install.ensure_installed(lambda _: None))
        node.version = rabbitmq.version()
        node.start()
        try:
            users = {one["user"] for one in json.loads(node.ctl("list_users", "--formatter=json"))}
            ours = "workshed-worker"
            listed = node.ctl("list_queues", "--vhost", "jobs", "name", "--formatter=json")
            queues = {one["name"] for one in json.loads(listed)}
        finally:
            node.stop()

    assert {ours, USER} <= users
    assert "guest" not in users
    assert queues == {name for queue in QUEUES for name in (queue.name, queue.dead_name)}


class Loading(RabbitMQServer):
    """A node that imports definitions and an administrator when it boots."""

    def settings(self):
        people = build_accounts([q.name for q in QUEUES], {}, "workshed")
        made = build_definitions("jobs", QUEUES, people, {}, self.version)
        made["users"].append(
            BrokerAccount(USER, tags=("administrator",)).define_user(self.password)
        )
        file = self.folder / "definitions.json"
        file.write_text(json.dumps(made))
        file.chmod(0o644)
        return {"load_definitions": str(file)}


def test_the_management_api_imports_them_too(rabbitmq, workshed):
    done = workshed("broker", "definitions", "--vhost", rabbitmq.vhost, "--prefix", "api")

    rabbitmq.load(done.json)

    try:
        assert {"emails", "emails.dead"} <= rabbitmq.queues().keys()
    finally:
        for user in done.json["users"]:
            rabbitmq.ask("DELETE", f"users/{user['name']}")


def test_an_account_without_a_password_cannot_log_in(imported):
    """The hash is empty, because the hash of an empty password would let anyone in."""
    locked = BrokerAccount(f"{imported.prefix}-locked")
    imported.ask("PUT", f"users/{locked.name}", {"password": "before", "tags": ""})
    body = {
        "users": [locked.define_user(None)],
        "permissions": [locked.define_permission(imported.vhost)],
    }
    assert imported.ask("POST", "definitions", body)[0] == 204

    try:
        for password in ("", "before", "guest"):
            imported.passwords[locked.name] = password
            with pytest.raises(ProbableAuthenticationError):
                pika.BlockingConnection(pika.URLParameters(imported.url("locked")))
    finally:
        imported.ask("DELETE", f"users/{locked.name}")
        del imported.passwords[locked.name]


def test_passwords_are_made_once_and_never_printed(workshed, tmp_path, broker):
    file = tmp_path / "passwords"
    file.write_text("workshed-sender=chosen")

    first = workshed("broker", "definitions", "--passwords", str(file))
    lines = file.read_text().splitlines()
    second = workshed("broker", "definitions", "--passwords", str(file))

    assert lines[0] == "workshed-sender=chosen"
    assert len(lines) == len(first.json["users"])
    assert file.read_text().splitlines() == lines
    for line in lines:
        assert line.partition("=")[2] not in first.out + first.err + second.out
    assert all(user["password_hash"] for user in first.json["users"])


def test_a_new_file_of_passwords_is_readable_only_by_its_owner(workshed, tmp_path, broker):
    workshed("broker", "definitions", "--passwords", str(tmp_path / "new"))

    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_a_line_that_cannot_be_read_is_reported_without_its_content(workshed, tmp_path, broker):
    (tmp_path / "passwords").write_text("a=b\nsecret\n")

    done = workshed("broker", "definitions", "--passwords", str(tmp_path / "passwords"))

    assert (done.code, done.out) == (1, "")
    assert "line 2 is not of the form user=password" in done.err
    assert "secret" not in done.err


def test_a_pool_of_an_unknown_queue_is_refused(workshed, broker):
    done = workshed("broker", "definitions", "--pool", "mail=emial")

    assert (done.code, done.out) == (2, "")
    assert "pool 'mail': no queue 'emial' (did you mean 'emails'?)" in done.err


def test_queues_that_no_pool_reads_are_listed(workshed, broker):
    done = workshed("broker", "definitions", "--pool", "mail=emails,bulk")

    assert done.code == 0
    assert "No pool may read critical, default, images, imports, low, scheduled." in done.err


def test_a_pattern_matches_no_other_name():
    [worker] = [one for one in build_accounts(["a.b", "c"], {}, "w") if one.name == "w-worker"]

    assert worker.read == r"^(a\.b|c)$"


@pytest.mark.parametrize(("release", "timeout"), [("4.2", 3_600_000), ("4.3", None)])
def test_definitions_fit_the_given_version(workshed, broker, release, timeout):
    """RabbitMQ 4.3.2 and later refuse a file in which a classic queue has a consumer timeout."""
    done = workshed("broker", "definitions", "--rabbitmq", release)

    declared = {one["name"]: one["arguments"] for one in done.json["queues"]}
    assert declared["emails"].get("x-consumer-timeout") == timeout
    assert declared["default"]["x-consumer-timeout"] == 3_600_000


def test_by_default_definitions_fit_the_server_that_answers(workshed, broker, rabbitmq):
    named = workshed("broker", "definitions", "--rabbitmq", ".".join(map(str, rabbitmq.version())))
    done = workshed("broker", "definitions")

    assert done.json["queues"] == named.json["queues"]
    assert done.err == ""


def test_definitions_fit_the_newest_version_if_no_server_answers(workshed, broker, env):
    env(BROKER_URL="amqp://127.0.0.1:9")

    done = workshed("broker", "definitions", "--vhost", "jobs")

    newest = workshed("broker", "definitions", "--vhost", "jobs", "--rabbitmq", "4.3")
    assert done.json == newest.json
    assert "Written for RabbitMQ 4.3, because no server answers" in done.err


@pytest.mark.parametrize("release", ["3.13", "four", "v4.3"])
def test_a_version_that_is_not_supported_is_refused(workshed, broker, release):
    done = workshed("broker", "definitions", "--rabbitmq", release)

    assert (done.code, done.out) == (2, "")
    assert repr(release) in done.err


def test_a_hash_is_salted():
    assert rabbitmq_password_hash("same") != rabbitmq_password_hash("same")
