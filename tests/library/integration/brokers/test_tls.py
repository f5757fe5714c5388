"""TLS to RabbitMQ: certificates are always verified, and a refusal names its reason."""

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests import tls
from tests.faults.relaying import relaying
from workshed import db
from workshed import schedule as outbox
from workshed.devserver.ports import HOST
from workshed.transport.errors import BrokerUnreachableError

pytestmark = pytest.mark.usefixtures("not_storing")


@pytest.fixture(scope="module")
def port(servers, authority):
    """The port where RabbitMQ accepts TLS as `localhost`."""
    return tls.listen(servers.rabbitmq, authority)


@pytest.fixture
def url(vhost, port):
    """`url(cacertfile=…)`: the URL of this test's virtual host over TLS."""
    return lambda host=tls.NAME, port=port, **options: tls.by_tls(vhost, port, host, **options)


@pytest.fixture
def use(broker):
    """Let the broker of this test connect to this URL."""

    def use(url):
        broker.urls[:] = [url]

    return use


@pytest.fixture
def runs():
    return []


@pytest.fixture
def note(actor, runs):
    return actor(queue_name="default", actor_name="note")(runs.append)


def test_all_connections_to_rabbitmq_use_tls(url, ca, use, note, runs, working, broker, eventually):
    use(url(cacertfile=ca))

    with working("default"), relaying(broker.urls):
        note.send(1)
        with db.transaction() as conn:
            outbox.send(conn, note.message(2))
        eventually(lambda: sorted(runs) == [1, 2])


def test_a_certificate_of_another_authority_is_refused_by_name(url, tmp_path, use, note):
    """Without `OSError` in `CONNECT_ERRORS`, `send` raises a bare `SSLCertVerificationError`."""
    other = tls.another(tmp_path)
    use(url(cacertfile=other))

    with pytest.raises(BrokerUnreachableError, match="certificate is refused") as error:
        note.send(1)

    assert f"TLS by {other}" in str(error.value)
    assert "name the authority that signed it as cacertfile" in str(error.value)


def test_without_an_authority_those_of_the_system_are_used(url, use, note):
    use(url())

    with pytest.raises(BrokerUnreachableError, match=r"TLS by the CAs of the system.*is refused"):
        note.send(1)


def test_a_certificate_of_another_host_is_refused(url, ca, use, note):
    """Without `check_hostname`, any holder of a certificate of that authority could be RabbitMQ."""
    use(url(HOST, cacertfile=ca))

    with pytest.raises(
        BrokerUnreachableError, match=r"refused: .* not valid for '127\.0\.0\.1'; use the host"
    ):
        note.send(1)


def test_a_certificate_that_has_expired_is_refused_by_name(url, servers, authority, use, note):
    port = tls.listen(servers.rabbitmq, authority, authority.issue_expired())
    use(url(port=port, cacertfile=authority.file))

    with pytest.raises(BrokerUnreachableError, match="refused: certificate has expired; renew it"):
        note.send(1)


def test_the_name_of_a_certificate_may_be_given(url, ca, use, note, rabbitmq, eventually):
    use(url(HOST, cacertfile=ca, server_name_indication="localhost"))

    note.send(1)

    eventually(lambda: rabbitmq.depth("default") == 1)


def test_a_client_shows_its_certificate(url, servers, authority, use, note):
    port = tls.listen(servers.rabbitmq, authority, **tls.MUTUAL)

    use(url(port=port, cacertfile=authority.file))
    with pytest.raises(BrokerUnreachableError, match=r"(?i)certificate.required"):
        note.send(1)

    use(url(port=port, cacertfile=authority.file, **authority.issue("worker")))
    note.send(1)


def test_tls_to_a_port_without_says_so(url, vhost, ca, use, note):
    use(url(port=urlsplit(vhost).port, cacertfile=ca))

    with pytest.raises(BrokerUnreachableError, match="TLS failed"):
        note.send(1)


def test_no_tls_to_a_port_with_it_says_so(url, vhost, port, use, note):
    use(urlunsplit(urlsplit(url())._replace(scheme="amqp")))

    with pytest.raises(
        BrokerUnreachableError, match=("the connection closed while it was being opened")
    ):
        note.send(1)


@pytest.fixture
def wire(proxy, port):
    return proxy(f"amqps://{HOST}:{port}")


def test_a_renewed_authority_is_read_with_the_next_connection(
    url, tmp_path, ca, wire, use, note, eventually
):
    """Read only once, a replaced authority would stop every program until it is restarted."""
    renewed = tmp_path / "renewed.pem"
    renewed.write_text(Path(ca).read_text())
    use(url(HOST, wire.port, cacertfile=str(renewed), server_name_indication=tls.NAME))
    note.send(1)
    link = note.broker._publisher._link

    renewed.write_text(Path(tls.another(tmp_path)).read_text())
    wire.cut()
    eventually(lambda: "its certificate is refused" in link.last_error)
    renewed.unlink()
    eventually(lambda: "cannot be used: No such file" in link.last_error)
    renewed.write_text(Path(ca).read_text())
    eventually(link._open.is_set)
    note.send(2)
