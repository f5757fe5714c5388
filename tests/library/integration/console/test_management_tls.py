"""TLS to RabbitMQ's management API: always verified, and a refusal names its reason."""

from urllib.parse import urlsplit, urlunsplit

import pytest

from tests import tls
from workshed.console.errors import ManagementError
from workshed.console.rabbitmq.management_api import ManagementApi
from workshed.devserver.ports import HOST
from workshed.settings import settings

pytestmark = [
    pytest.mark.fresh_vhost,
    pytest.mark.one_in(3),  # each test starts programs of its own
]


@pytest.fixture(scope="module")
def port(servers, authority):
    """The port where RabbitMQ serves it over TLS, as `localhost`."""
    return tls.manage(servers.rabbitmq, authority)


@pytest.fixture
def plain(management):
    """Its URL without TLS."""
    return settings().management_url.get_secret_value()


@pytest.fixture
def url(plain, port):
    """`url(cacertfile=…)`: its URL with TLS."""
    return lambda host=tls.NAME, port=port, **options: tls.by_tls(plain, port, host, **options)


@pytest.fixture
def ask(management):
    """`ask(url)`: its answer about the virtual host of this test."""
    return lambda url: ManagementApi(url, management.vhost).queues()


@pytest.fixture
def refusal(ask):
    """`refusal(url)`: the text of its error, which never contains the password."""

    def find_problems(url):
        with pytest.raises(ManagementError) as error:
            ask(url)
        assert urlsplit(url).password not in str(error.value)
        return str(error.value)

    return find_problems


def test_a_server_with_a_certificate_of_a_private_authority_is_accepted(url, ca, ask, broker):
    broker.ensure_queues({"default"})

    assert ask(url(cacertfile=ca)).keys() >= {"default"}


def test_one_of_another_authority_is_refused_with_what_to_do(url, tmp_path, refusal):
    other = tls.another(tmp_path)

    said = refusal(url(cacertfile=other))

    assert f"does not answer at localhost:{urlsplit(url()).port} (TLS by {other})" in said
    assert "WORKSHED_MANAGEMENT_URL" in said
    assert "its certificate is refused: " in said
    assert said.endswith("; name the authority that signed it as cacertfile")


def test_without_an_authority_those_of_the_system_are_used(url, refusal):
    said = refusal(url())

    assert "(TLS by the CAs of the system)" in said
    assert said.endswith("; name the authority that signed it as cacertfile")


def test_one_of_another_host_is_refused_with_what_to_do(url, ca, refusal):
    """Without `check_hostname`, any holder of a certificate of that authority gets the password."""
    said = refusal(url(HOST, cacertfile=ca))

    assert "its certificate is refused: " in said
    assert "not valid for '127.0.0.1'; use the host name that it is for, or give that as " in said


def test_one_that_has_expired_is_refused_with_what_to_do(url, servers, authority, refusal):
    port = tls.manage(servers.rabbitmq, authority, authority.issue_expired())

    said = refusal(url(port=port, cacertfile=authority.file))

    assert said.endswith(
        "its certificate is refused: certificate has expired; renew it on the server"
    )


def test_the_name_of_a_certificate_may_be_given(url, ca, ask, refusal):
    assert ask(url(HOST, cacertfile=ca, server_name_indication=tls.NAME)) == {}
    assert "not valid for 'mq'" in refusal(url(cacertfile=ca, server_name_indication="mq"))


def test_a_client_shows_its_certificate(url, servers, authority, ask, refusal):
    port = tls.manage(servers.rabbitmq, authority, **tls.MUTUAL)

    assert "CERTIFICATE_REQUIRED" in refusal(url(port=port, cacertfile=authority.file))
    assert ask(url(port=port, cacertfile=authority.file, **authority.issue("worker"))) == {}


def test_tls_to_a_plain_port_and_plain_http_to_a_tls_port_are_reported(url, plain, ca, refusal):
    assert "TLS failed" in refusal(url(port=urlsplit(plain).port, cacertfile=ca))

    said = refusal(urlunsplit(urlsplit(url())._replace(scheme="http")))
    assert said.endswith("its answer is not HTTP; for TLS, use https://")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://a:secret@h?verify=verify_none", "a certificate is always verified"),
        ("https://a:secret@h?cafile=ca.pem", "did you mean 'cacertfile'"),
        ("https://a:secret@h?heartbeat=5", "heartbeat is not known"),
        ("https://a:secret@h/?cacertfile=", "cacertfile is empty"),
        ("http://a:secret@h?cacertfile=ca.pem", "cacertfile is for https://, this is http://"),
        ("https://a:secret@h?keyfile=key.pem", "keyfile without a certfile"),
    ],
)
def test_options_that_would_have_no_effect_are_refused(url, problem):
    with pytest.raises(ManagementError, match=r"^WORKSHED_MANAGEMENT_URL: ") as error:
        ManagementApi(url, "/")

    assert problem in str(error.value)
    assert "secret" not in str(error.value)


def test_a_file_that_cannot_be_used_is_named(url, refusal, tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")

    assert "cacertfile '/none.pem' cannot be used: No such" in refusal(url(cacertfile="/none.pem"))
    assert "cannot be used: not PEM" in refusal(url(cacertfile=str(tmp_path / "ca.pem")))


# Commands


@pytest.fixture
def doctor(workshed, broker, env):
    """`doctor(MANAGEMENT_URL=…)`: its findings about the API; AMQP stays as it is."""

    def run(**variables):
        env(**variables)
        found = workshed("doctor", "--json").json["checks"]
        return {one["check"]: one for one in found if one["check"].startswith("management")}

    return run


def test_the_doctor_and_the_commands_use_tls(url, ca, doctor, broker, workshed, port):
    broker.ensure_queues(set(broker.declared_queues))

    found = doctor(MANAGEMENT_URL=url(cacertfile=ca))

    said = f"the management API answers at localhost:{port} (TLS by {ca})"
    assert found["management"]["message"] == said
    assert workshed("broker", "check").out.endswith("queues exist as declared\n")


def test_the_doctor_suggests_a_fix_that_keeps_tls(url, vhost, doctor, tmp_path):
    """If it suggested http://, an operator would send the password in clear text."""
    by_another = {"cacertfile": tls.another(tmp_path)}

    found = doctor(MANAGEMENT_URL=url(**by_another))["management"]

    assert found["level"] == "failed"
    assert "name the authority that signed it as cacertfile" in found["message"]
    usual = f"{urlsplit(vhost).username}:PASSWORD@{HOST}:15671?cacertfile=/etc/ca.pem"
    assert found["fix"] == f"export WORKSHED_MANAGEMENT_URL='https://{usual}'"
