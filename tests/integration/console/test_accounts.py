"""`workshed broker definitions`: RabbitMQ takes them, and each account may do its part alone."""

import contextlib
import http.client
import json
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

from brokers.accounts import Account, accounts, hashed
from brokers.definitions import definitions
from brokers.queues import QUEUES, Queue
from console.servers import install
from console.servers.rabbitmq import USER, RabbitMQ
from console.servers.state import temporary
from tests.forbidden import PARTS, may, operations

MAIL = ("emails", "bulk")


class Imported:
    """Definitions with two pools of workers, on the server of the tests."""

    def __init__(self, servers):
        self.node, self.server = servers.rabbitmq, servers.broker_url
        self.at = urlsplit(servers.management_url)
        self.vhost = self.prefix = f"accounts_{secrets.token_hex(4)}"
        rest = [queue.name for queue in QUEUES if queue.name not in MAIL]
        people = accounts([q.name for q in QUEUES], {"mail": MAIL, "rest": rest}, self.prefix)
        self.passwords = {one.name: secrets.token_urlsafe(8) for one in people}
        self.made = definitions(self.vhost, QUEUES, people, self.passwords)

    def take_by_command(self):
        with tempfile.TemporaryDirectory(prefix="workshed-definitions-") as name:
            Path(name).chmod(0o755)  # RabbitMQ reads it as a user of its own
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
        """Code and text of an answer of the management API; by default to the administrator."""
        basic = b64encode((login or f"{self.at.username}:{self.at.password}").encode()).decode()
        headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection(self.at.hostname, self.at.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, f"/api/{path}", json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()


@pytest.fixture(scope="module")
def imported(servers):
    """What `rabbitmqctl import_definitions` has made of them."""
    found = Imported(servers)
    found.take_by_command()
    yield found
    found.ask("DELETE", f"vhosts/{found.vhost}")
    for user in found.passwords:
        found.ask("DELETE", f"users/{user}")


@pytest.fixture(scope="module")
def connection(imported):
    """`connection("sender")`: one of that account, for all tests."""
    found = {}

    def connect(part):
        if part not in found or not found[part].is_open:
            found[part] = pika.BlockingConnection(pika.URLParameters(imported.url(part)))
        return found[part]

    yield connect
    for each in found.values():
        with contextlib.suppress(AMQPError):  # RabbitMQ may have given up one that was idle
            each.close()


@pytest.fixture
def channel(connection):
    """`channel("sender")`: a channel of that account, which confirms."""

    def open_one(part):
        try:
            found = connection(part).channel()
        except AMQPError:
            found = connection(part).channel()
        found.confirm_delivery()
        return found

    return open_one


OPERATIONS = operations("emails", "low")
MAY = may("emails", "low")


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_account_may_do_its_part_and_nothing_else(channel, part, operation):
    """With the pattern `.*` for any of the three rights, what is not in `MAY` is done."""
    run, expected = OPERATIONS[operation], contextlib.nullcontext()
    if operation not in MAY[part]:
        expected = pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED")

    with expected:
        run(channel(part))


@pytest.mark.parametrize("part", PARTS)
def test_whoever_logs_in_may_see_how_full_a_queue_is(channel, part):
    """RabbitMQ asks for no right there: `workshed queues` needs none."""
    assert channel(part).queue_declare("low", passive=True).method.message_count == 0


@pytest.mark.parametrize("part", PARTS)
def test_no_account_gets_into_another_virtual_host(imported, part):
    with pytest.raises(ProbableAccessDeniedError):
        pika.BlockingConnection(pika.URLParameters(imported.url(part, "/")))


@pytest.fixture
def api(imported):
    """`api("monitor", "GET", "queues")`: code and text of an answer of the management API."""
    return lambda part, *words: imported.ask(*words, login=imported.login(part))


GETS = {"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}
MESSAGE = {"properties": {}, "routing_key": "low", "payload": "{}", "payload_encoding": "string"}
READS_OF_API = ("overview", "queues/VHOST", "exchanges/VHOST/workshed.jobs/bindings/source")
DEEDS_OF_API = {
    "read a message": ("POST", "queues/VHOST/low/get", GETS),
    "publish": ("POST", "exchanges/VHOST/workshed.jobs/publish", MESSAGE),
    "purge": ("DELETE", "queues/VHOST/low/contents", None),
    "delete a queue": ("DELETE", "queues/VHOST/low", None),
    "make a queue": ("PUT", "queues/VHOST/mine", {"durable": True}),
    "make a policy": (
        "PUT",
        "policies/VHOST/all",
        {"pattern": "", "definition": {"max-length": 1}},
    ),
    "make a virtual host": ("PUT", "vhosts/mine", {}),
    "see accounts": ("GET", "users", None),
    "make an account": ("PUT", "users/mine", {"password": "x", "tags": "administrator"}),
    "give a right": (
        "PUT",
        "permissions/VHOST/NAME",
        {"configure": ".*", "write": ".*", "read": ".*"},
    ),
    "export definitions": ("GET", "definitions", None),
    "see the nodes": ("GET", "nodes", None),
}


def test_the_monitor_sees_queues_by_the_management_api(api, imported):
    for path in READS_OF_API:
        assert api("monitor", "GET", path.replace("VHOST", imported.vhost))[0] == 200


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("deed", DEEDS_OF_API)
def test_no_account_changes_anything_by_the_management_api(api, imported, part, deed):
    method, path, body = DEEDS_OF_API[deed]
    path = path.replace("VHOST", imported.vhost).replace("NAME", f"{imported.prefix}-{part}")

    code, said = api(part, method, path, body)

    # What the API itself allows goes by AMQP, and is refused there.
    assert code == 401 or (code == 400 and "ACCESS_REFUSED" in said)


@pytest.mark.parametrize("part", [part for part in PARTS if part != "monitor"])
@pytest.mark.parametrize("path", READS_OF_API)
def test_nobody_but_the_monitor_gets_into_the_management_api(api, imported, part, path):
    assert api(part, "GET", path.replace("VHOST", imported.vhost))[0] == 401


def test_what_was_imported_is_as_declared(workshed, env, imported, broker, monkeypatch, servers):
    """Written by hand, one argument that differs would keep each worker from starting."""
    monkeypatch.setattr(broker, "urls", [imported.url("monitor")])
    place = urlsplit(servers.management_url).netloc.rpartition("@")[2]
    env(MANAGEMENT_URL=f"http://{imported.login('monitor')}@{place}")

    done = workshed("broker", "check")

    assert (done.code, done.out) == (0, f"{len(QUEUES)} queues are there, as declared\n")


def test_a_node_without_data_boots_with_them():
    """`load_definitions`, as a container has it; then RabbitMQ makes no `guest`."""
    with temporary() as state:
        node = Loading(state, install.ensure(lambda _: None))
        node.start()
        try:
            users = {one["user"] for one in json.loads(node.ctl("list_users", "--formatter=json"))}
            ours = f"workshed-{PARTS[0]}"
            listed = node.ctl("list_queues", "--vhost", "jobs", "name", "--formatter=json")
            queues = {one["name"] for one in json.loads(listed)}
        finally:
            node.stop()

    assert {ours, USER} <= users
    assert "guest" not in users
    assert queues == {name for queue in QUEUES for name in (queue.name, queue.dead)}


class Loading(RabbitMQ):
    """A node that imports definitions when it boots, and an administrator with them."""

    def settings(self):
        made = definitions("jobs", QUEUES, accounts([q.name for q in QUEUES], {}, "workshed"), {})
        made["users"].append(Account(USER, tags=("administrator",)).user(self.password))
        file = self.folder / "definitions.json"
        file.write_text(json.dumps(made))
        file.chmod(0o644)
        return {"load_definitions": str(file)}


def test_the_management_api_takes_them_too(rabbitmq, workshed):
    done = workshed("broker", "definitions", "--vhost", rabbitmq.vhost, "--prefix", "api")

    rabbitmq.load(done.json)

    try:
        assert {"emails", "emails.dead"} <= rabbitmq.queues().keys()
    finally:
        for user in done.json["users"]:
            rabbitmq.ask("DELETE", f"users/{user['name']}")


def test_nobody_logs_in_where_no_password_was_given(imported):
    """An empty hash is none; the hash of an empty password would let everybody in."""
    locked = Account(f"{imported.prefix}-locked")
    imported.ask("PUT", f"users/{locked.name}", {"password": "before", "tags": ""})
    body = {"users": [locked.user(None)], "permissions": [locked.permission(imported.vhost)]}
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


def test_a_file_of_passwords_that_is_made_is_its_owners_alone(workshed, tmp_path, broker):
    workshed("broker", "definitions", "--passwords", str(tmp_path / "new"))

    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_a_line_that_cannot_be_read_is_named_and_not_shown(workshed, tmp_path, broker):
    (tmp_path / "passwords").write_text("a=b\nsecret\n")

    done = workshed("broker", "definitions", "--passwords", str(tmp_path / "passwords"))

    assert (done.code, done.out) == (1, "")
    assert "line 2 is not like user=password" in done.err
    assert "secret" not in done.err


def test_a_pool_of_an_unknown_queue_is_refused(workshed, broker):
    done = workshed("broker", "definitions", "--pool", "mail=emial")

    assert (done.code, done.out) == (2, "")
    assert "pool 'mail': no queue 'emial' (did you mean 'emails'?)" in done.err


def test_queues_that_no_pool_reads_are_named(workshed, broker):
    done = workshed("broker", "definitions", "--pool", "mail=emails,bulk")

    assert done.code == 0
    assert "No pool may read critical, default, images, imports, low, scheduled." in done.err


def test_a_pattern_matches_no_other_name():
    [worker] = [one for one in accounts(["a.b", "c"], {}, "w") if one.name == "w-worker"]

    assert worker.read == r"^(a\.b|c)$"


def test_strict_levels_are_asked_for_where_rabbitmq_has_them():
    queue = Queue("fast", levels=3)

    def asked(version):
        made = definitions("/", [queue], [], {}, version)["queues"]
        return [one["arguments"].get("x-max-priority") for one in made if one["name"] == "fast"]

    assert (asked((4, 2)), asked((4, 3))) == ([None], [3])


def test_a_hash_is_salted():
    assert hashed("same") != hashed("same")
