"""How broker URLs are parsed, which ones are refused, and how failures are described."""

import socket
import ssl

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from pika.adapters.utils.connection_workflow import (
    AMQPConnectionWorkflowFailed,
    AMQPConnectorSocketConnectError,
    AMQPConnectorStackTimeout,
)
from pika.exceptions import (
    AMQPConnectionError,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    StreamLostError,
)

from workshed.errors import SettingsError
from workshed.transport.amqp.url import (
    HEARTBEAT_S,
    connection_parameters,
    describe_error,
    display_address,
    unreachable_message,
)


@pytest.fixture
def files(tmp_path):
    """A certificate, its key, and a file that is neither; their paths."""
    authority = trustme.CA()
    own = authority.issue_cert("worker")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    own.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    (tmp_path / "other.txt").write_text("neither")
    return tmp_path


def test_a_url_without_tls():
    found = connection_parameters("amqp://ada:s%2Fcret@rabbit/shop%2F1?heartbeat=5", "publisher")

    assert (found.host, found.port, found.virtual_host) == ("rabbit", 5672, "shop/1")
    assert found.credentials.password == "s/cret"
    assert (found.heartbeat, found.ssl_options) == (5, None)
    assert found.client_properties["connection_name"].startswith("publisher of process ")


def test_a_url_with_tls_is_always_verified(files):
    found = connection_parameters(
        f"amqps://ada:x@rabbit/?cacertfile={files}/ca.pem&verify=verify_peer", "x"
    )

    assert (found.port, found.heartbeat) == (5671, HEARTBEAT_S)
    context = found.ssl_options.context
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert len(context.get_ca_certs()) == 1  # none of the system's


def test_a_client_certificate_and_a_name_of_the_server(files):
    options = f"certfile={files}/cert.pem&keyfile={files}/key.pem&server_name_indication=mq"

    assert (
        connection_parameters(f"amqps://a:b@rabbit/?{options}", "x").ssl_options.server_hostname
        == "mq"
    )


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("amqps://a:b@h/?verify=verify_none", "a certificate is always verified"),
        ("amqps://a:b@h/?ssl_options=%7B%27verify_mode%27%3A0%7D", "ssl_options is not known"),
        ("amqps://a:b@h/?cafile=ca.pem", "did you mean 'cacertfile'"),
        ("amqps://a:b@h/?cacertfile=", "cacertfile is empty"),
        ("amqp://a:b@h/?cacertfile=ca.pem", "cacertfile is for amqps://"),
        ("amqps://a:b@h/?cacertfile=/none.pem", "cacertfile '/none.pem' cannot be used: No such"),
        ("amqps://a:b@h/?cacertfile=FILES/other.txt", "not PEM"),
        ("amqps://a:b@h/?keyfile=FILES/key.pem", "keyfile without a certfile"),
        ("amqps://a:b@h/?certfile=FILES/cert.pem", "certfile 'FILES/cert.pem' cannot be used"),
        ("amqp://a:b@h/?heartbeat=0", "not a whole number of seconds"),
        ("amqp://a:b@h/?heartbeat=soon", "not a whole number of seconds"),
        ("amqp://a:b@h/?blocked_connection_timeout=5", "is not known"),
        ("amqp://ada@h/", "a user without a password"),
    ],
)
def test_what_would_not_do_what_it_says_is_refused(url, problem, files):
    with pytest.raises(SettingsError) as error:
        connection_parameters(url.replace("FILES", str(files)), "x")

    assert problem.replace("FILES", str(files)) in str(error.value)


def test_a_key_with_a_password_is_refused_without_a_terminal_prompt(files):
    """OpenSSL would wait at a terminal for the password."""
    key = serialization.load_pem_private_key((files / "key.pem").read_bytes(), None)
    sealed = serialization.BestAvailableEncryption(b"a word")
    (files / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, sealed
        )
    )
    options = f"certfile={files}/cert.pem&keyfile={files}/key.pem"

    with pytest.raises(SettingsError, match="a key that has a password"):
        connection_parameters(f"amqps://a:b@h/?{options}", "x")


def test_an_address_is_displayed_without_its_login():
    message = unreachable_message(
        ["amqp://ada:secret@a:1/x", "amqps://ada:secret@b/?cacertfile=/ca"], "gone"
    )

    assert "a:1 (virtual host 'x') or b:5671 (virtual host '/', TLS by /ca)" in message
    assert "secret" not in message
    assert display_address("amqps://b") == "b:5671 (virtual host '/', TLS by the CAs of the system)"


def refused(number, text):
    return repr(ConnectionClosedByBroker(number, text))


def failed(error):
    return AMQPConnectionError(AMQPConnectionWorkflowFailed([error]))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ProbableAuthenticationError(refused(403, "ACCESS_REFUSED - Login was refused")),
            "user or password refused",
        ),
        (
            ProbableAuthenticationError(repr(StreamLostError("reset"))),
            "the connection closed while it was being opened: StreamLostError: ('reset',)",
        ),
        (
            ProbableAccessDeniedError(refused(530, "NOT_ALLOWED - vhost x not found")),
            "no access to the virtual host: vhost x not found",
        ),
        (
            failed(AMQPConnectorSocketConnectError(ConnectionRefusedError(111, "refused"))),
            "[Errno 111] refused",
        ),
        (
            failed(AMQPConnectorSocketConnectError(AMQPConnectorStackTimeout("…"))),
            "it did not answer in time",
        ),
        (
            failed(AMQPConnectorSocketConnectError(TimeoutError("TCP connection attempt …"))),
            "it did not answer in time",
        ),
        (socket.gaierror(-2, "Name or service not known"), "[Errno -2] Name or service not known"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_a_failure_is_described_by_its_cause(error, message):
    """Pika may blame the password for a cut connection: it guesses from the last step reached."""
    assert describe_error(error) == message
