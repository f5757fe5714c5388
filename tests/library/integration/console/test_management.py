"""The client of RabbitMQ's management API."""

from urllib.parse import urlsplit

import pytest

from workshed.console.errors import ManagementError
from workshed.console.rabbitmq.management_api import ManagementApi
from workshed.settings import settings


@pytest.fixture
def at(management):
    """The parsed URL of the API, with its user and password."""
    return urlsplit(settings().management_url.get_secret_value())


def test_a_wrong_password_is_reported_and_not_shown(at, management):
    api = ManagementApi(f"http://{at.username}:guess@{at.hostname}:{at.port}", management.vhost)

    with pytest.raises(
        ManagementError, match=r"refuses user 'workshed'.*needs the right password"
    ) as err:
        api.overview()
    assert "guess" not in str(err.value)


def test_another_server_is_reported(servers, management):
    port = urlsplit(servers.database_url).port

    with pytest.raises(ManagementError, match=r"does not answer at 127\.0\.0\.1"):
        ManagementApi(f"http://127.0.0.1:{port}", "/").overview()


def test_a_server_that_does_not_answer_is_given_up(tarpit):
    with pytest.raises(ManagementError, match="did not answer in time"):
        ManagementApi(f"http://{tarpit}", "/", timeout_s=0.2).overview()


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("http://ada:pass@host", "http://host:15672/#/queues/a%2Fb/in%20%23s"),
        ("https://ada:pass@host/rabbit/", "https://host:15671/rabbit/#/queues/a%2Fb/in%20%23s"),
        ("http://ada:pass@[::1]:8080", "http://[::1]:8080/#/queues/a%2Fb/in%20%23s"),
    ],
)
def test_a_link_to_the_page_of_a_queue_has_no_password(url, page):
    assert ManagementApi(url, "a/b").queue_page_url("in #s") == page


@pytest.mark.parametrize("url", ["127.0.0.1:15672", "ftp://host", "http://", "http://host:port"])
def test_an_invalid_url_is_refused(url):
    with pytest.raises(ManagementError, match="WORKSHED_MANAGEMENT_URL"):
        ManagementApi(url, "/")


@pytest.mark.fresh_vhost
def test_a_vhost_and_a_password_with_special_characters(servers, management, at):
    management.ask("PUT", "vhosts/a%2Fb%20c", {})
    management.ask("PUT", "users/ada%20l", {"password": "p@ss/w%rd", "tags": "administrator"})
    management.ask(
        "PUT", "permissions/a%2Fb%20c/ada%20l", dict.fromkeys(("configure", "write", "read"), ".*")
    )
    try:
        url = f"http://ada%20l:p%40ss%2Fw%25rd@{at.hostname}:{at.port}"
        api = ManagementApi(url, "a/b c")

        assert api.queues() == {}
        assert api.permissions("ada l")["read"] == ".*"
    finally:
        management.ask("DELETE", "vhosts/a%2Fb%20c")
        management.ask("DELETE", "users/ada%20l")
