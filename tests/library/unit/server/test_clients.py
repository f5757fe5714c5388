"""Which addresses the console's server takes for proxies, and which for one client."""

import pytest

from workshed.console.web.server.clients import Proxies, require_answer
from workshed.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "host", "is_proxy"),
    [
        ("", "127.0.0.1", False),
        ("none", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("10.0.0.0/8, 192.168.1.7", "10.9.8.7", True),
        ("10.0.0.0/8, 192.168.1.7", "192.168.1.7", True),
        ("10.0.0.0/8, 192.168.1.7", "192.168.1.8", False),
        ("fd00::/8", "fd12::1", True),
        ("fd00::/8", "10.0.0.1", False),
        ("10.0.0.0/8", "", False),
        ("10.0.0.0/8", "10.0.0.1, 10.0.0.2", False),
    ],
)
def test_only_the_named_networks_are_proxies(text, host, is_proxy):
    assert (host in Proxies.parse(text)) is is_proxy


@pytest.mark.parametrize("text", ["*", "proxy.example", "10.0.0.1/8", "10.0.0.0/8,", "none,none"])
def test_what_names_no_network_is_refused(text):
    with pytest.raises(SettingsError, match="proxies of the console cannot be read"):
        Proxies.parse(text)


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("no address", "no address"),
        ("10.1.1.1", None),
        ("", None),
    ],
)
def test_a_client_is_an_address_or_a_network_of_ipv6_and_never_a_proxy(host, client):
    assert Proxies.parse("10.0.0.0/8").client_of(host) == client


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_a_console_for_this_machine_needs_no_answer_about_proxies(host):
    require_answer(host, "")


@pytest.mark.parametrize("host", ["::", "192.168.1.7", "console.example"])
def test_a_console_for_other_machines_needs_an_answer_about_proxies(host):
    with pytest.raises(SettingsError, match=r"lets other machines connect.*WORKSHED_CONSOLE_PROX"):
        require_answer(host, "")

    require_answer(host, "none")
    require_answer(host, "10.0.0.0/8")
