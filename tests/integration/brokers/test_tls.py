"""TLS to RabbitMQ: always verified, and what is refused says why."""

import json
import secrets
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode, urlsplit, urlunsplit

import pytest
import trustme

from brokers import schedule as outbox
from brokers.errors import BrokerUnreachableError
from console.servers.ports import HOST, free_ports
from tests.faults.relaying import relaying
from workshed import db

pytestmark = pytest.mark.usefixtures("not_storing")


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def folder():
    """Where certificates and keys lie; also RabbitMQ reads them there, as a user of its own."""
    with tempfile.TemporaryDirectory(prefix="workshed-tls-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="module")
def write(folder):
    def write(name, *blobs):
        path = folder / name
        path.write_bytes(b"".join(blob.bytes() for blob in blobs))
        path.chmod(0o644)
        return str(path)

    return write


@pytest.fixture(scope="module")
def ca(authority, write):
    return write("ca.pem", authority.cert_pem)


@pytest.fixture(scope="module")
def port(servers, authority, ca, write):
    """Where RabbitMQ takes TLS, as `localhost`."""
    return listen(servers.rabbitmq, authority, ca, write, verify="verify_none")


@pytest.fixture(scope="module")
def mutual_port(servers, authority, ca, write):
    """Where it takes nobody without a certificate."""
    wanted = {"verify": "verify_peer", "fail_if_no_peer_cert": "true"}
    return listen(servers.rabbitmq, authority, ca, write, **wanted)


@pytest.fixture(scope="module")
def expired_port(servers, authority, ca, write):
    """Where it shows a certificate of yesterday."""
    now = datetime.now(UTC)
    span = {"not_before": now - timedelta(days=2), "not_after": now - timedelta(days=1)}
    own = authority.issue_cert("localhost", **span)
    return listen(servers.rabbitmq, authority, ca, write, own, verify="verify_none")


def listen(node, authority, ca, write, own=None, **options):
    """Open one more listener on the running node, until that ends; its port."""
    own = own or authority.issue_cert("localhost")
    name = secrets.token_hex(4)  # RabbitMQ reads them with each connection
    files = {
        "cacertfile": ca,
        "certfile": write(f"{name}.pem", *own.cert_chain_pems),
        "keyfile": write(f"{name}-key.pem", own.private_key_pem),
    }
    options |= {name: json.dumps(path) for name, path in files.items()}
    words = ",".join(f"{{{name},{value}}}" for name, value in options.items())
    (port,) = free_ports(1)
    place = f'{{"{HOST}",{port},inet}}'
    node.ctl("eval", f"ok = rabbit_networking:start_ssl_listener({place}, [{words}], 2).")
    return port


@pytest.fixture
def url(vhost, port):
    """`url(cacertfile=…)`: the virtual host of this test by TLS."""
    return lambda host="localhost", port=port, **options: by_tls(vhost, host, port, options)


def by_tls(plain, host, port, options):
    parts = urlsplit(plain)
    login = parts.netloc.rpartition("@")[0]
    place = f"{login}@{host}:{port}"
    return urlunsplit(parts._replace(scheme="amqps", netloc=place, query=urlencode(options)))


@pytest.fixture
def use(broker):
    """Let the broker of this test look for RabbitMQ there."""

    def use(url):
        broker.urls[:] = [url]

    return use


@pytest.fixture
def runs():
    return []


@pytest.fixture
def note(actor, runs):
    return actor(queue_name="default", actor_name="note")(runs.append)


def test_all_that_needs_rabbitmq_goes_by_tls(url, ca, use, note, runs, working, broker, eventually):
    use(url(cacertfile=ca))

    with working("default"), relaying(broker.urls):
        note.send(1)
        with db.transaction() as conn:
            outbox.send(conn, note.message(2))
        eventually(lambda: sorted(runs) == [1, 2], within_s=20)


def test_a_certificate_of_another_authority_is_refused_by_name(url, write, use, note):
    """Without `OSError` in `CONNECT_ERRORS`, `send` raises a bare `SSLCertVerificationError`."""
    other = write("other.pem", trustme.CA().cert_pem)
    use(url(cacertfile=other))

    with pytest.raises(BrokerUnreachableError, match="certificate is refused") as error:
        note.send(1)

    assert f"TLS by {other}" in str(error.value)


def test_without_an_authority_those_of_the_system_are_asked(url, use, note):
    use(url())

    with pytest.raises(BrokerUnreachableError, match=r"TLS by the CAs of the system.*is refused"):
        note.send(1)


def test_a_certificate_of_another_host_is_refused(url, ca, use, note):
    """Without `check_hostname`, whoever has any certificate of that authority is RabbitMQ."""
    use(url(HOST, cacertfile=ca))

    with pytest.raises(BrokerUnreachableError, match=r"refused: .* not valid for '127\.0\.0\.1'"):
        note.send(1)


def test_a_certificate_that_has_expired_is_refused_by_name(url, ca, expired_port, use, note):
    use(url(port=expired_port, cacertfile=ca))

    with pytest.raises(BrokerUnreachableError, match="refused: certificate has expired"):
        note.send(1)


def test_the_name_of_a_certificate_may_be_given(url, ca, use, note, rabbitmq, eventually):
    use(url(HOST, cacertfile=ca, server_name_indication="localhost"))

    note.send(1)

    eventually(lambda: rabbitmq.depth("default") == 1)


def test_a_client_shows_its_certificate(url, mutual_port, ca, authority, write, use, note):
    own = authority.issue_cert("worker")
    files = {
        "certfile": write("worker.pem", *own.cert_chain_pems),
        "keyfile": write("worker-key.pem", own.private_key_pem),
    }

    use(url(port=mutual_port, cacertfile=ca))
    with pytest.raises(BrokerUnreachableError, match=r"(?i)certificate.required"):
        note.send(1)

    use(url(port=mutual_port, cacertfile=ca, **files))
    note.send(1)


def test_tls_to_a_port_without_says_so(url, vhost, ca, use, note):
    use(url(port=urlsplit(vhost).port, cacertfile=ca))

    with pytest.raises(BrokerUnreachableError, match="TLS failed"):
        note.send(1)


def test_no_tls_to_a_port_with_it_says_so(url, vhost, port, use, note):
    use(urlunsplit(urlsplit(url())._replace(scheme="amqp")))

    with pytest.raises(BrokerUnreachableError, match="the connection ended while it was made"):
        note.send(1)


@pytest.fixture
def wire(proxy, port):
    return proxy(f"amqps://{HOST}:{port}")


def test_a_renewed_authority_is_read_with_the_next_connection(
    url, write, authority, wire, use, note, eventually
):
    """Read once, one that was replaced would stop every program until it is started again."""
    renewed = write("renewed.pem", authority.cert_pem)
    use(url(HOST, wire.port, cacertfile=renewed, server_name_indication="localhost"))
    note.send(1)
    link = note.broker._publisher._link

    write("renewed.pem", trustme.CA().cert_pem)
    wire.cut()
    eventually(lambda: "its certificate is refused" in link.trouble)
    Path(renewed).unlink()
    eventually(lambda: "cannot be used: No such file" in link.trouble)
    write("renewed.pem", authority.cert_pem)
    eventually(link._open.is_set)
    note.send(2)
