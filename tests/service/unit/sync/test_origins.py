"""Which hosts may be queried."""

from ipaddress import ip_address

import pytest

from shop.allowed_origins import parse_allowed_origins, parse_origin
from shop.settings import settings
from workshed.errors import SettingsError


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://api.example.org/v1/records?x=1", "https://api.example.org"),
        ("HTTPS://API.Example.ORG:443", "https://api.example.org"),
        ("https://api.example.org.", "https://api.example.org"),
        ("http://[::1]:8080/x", "http://[::1]:8080"),
        ("https://bücher.example/", "https://xn--bcher-kva.example"),
    ],
)
def test_a_url_leads_to_an_origin(url, origin):
    assert str(parse_origin(url)) == origin


@pytest.mark.parametrize(
    "url",
    [
        "api.example.org",
        "ftp://api.example.org",
        "https://",
        "https:///path",
        "https://good.example@evil.example/",
        "https://good.example\\@evil.example/",
        "https://good.example /",
        "https://good.example\t/",
        "http://[fe80::1%25eth0]/",
        "https://api.example.org:99999",
        "https://api.example.org:x",
        "https://[::1",
    ],
)
def test_ambiguous_urls_are_refused(url):
    with pytest.raises(ValueError):  # noqa: PT011 -- each message is different
        parse_origin(url)


def test_an_origin_may_name_its_networks():
    public, inside, literal = parse_allowed_origins(
        "https://api.example.org https://crm.internal=10.0.0.0/8 http://192.168.0.7:8080/"
    )

    assert public.allows(ip_address("1.1.1.1"))
    assert not public.allows(ip_address("10.0.0.1"))
    assert inside.allows(ip_address("10.0.0.1"))
    assert not inside.allows(ip_address("1.1.1.1"))
    assert literal.allows(ip_address("192.168.0.7"))
    assert not literal.allows(ip_address("192.168.0.8"))


@pytest.mark.parametrize(
    "text",
    [
        "api.example.org",
        "https://a.example/path",
        "https://a.example=inside",
        "https://a=10.0.0.1/8",
    ],
)
def test_a_setting_that_cannot_be_read_is_named(monkeypatch, text):
    monkeypatch.setenv("SHOP_SYNC_ORIGINS", text)

    with pytest.raises(SettingsError, match=r"SHOP_SYNC_ORIGINS: .* is not like https://host"):
        settings()


def test_tokens_are_of_sources(monkeypatch):
    monkeypatch.setenv("SHOP_SYNC_TOKENS", "crm=abc=d== shop=x")

    assert [settings().sync_token(name) for name in ("crm", "shop", "other")] == [
        "abc=d==",
        "x",
        None,
    ]
    assert "abc" not in repr(settings())


@pytest.mark.parametrize("span", ["9", "0.5", "10.5", "99999999"])
def test_a_span_the_calendar_does_not_have_is_refused(monkeypatch, span):
    monkeypatch.setenv("SHOP_SYNC_EVERY", span)

    with pytest.raises(SettingsError, match="SHOP_SYNC_EVERY: must be whole seconds"):
        settings()
