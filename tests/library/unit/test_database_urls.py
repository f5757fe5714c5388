"""URLs of PostgreSQL with one host or several."""

import pytest

from workshed.database.urls import describe_address, list_servers, split_hosts

LOGIN = "postgresql://ada:s3cret@"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("postgresql:///shop", "local socket:5432/shop"),
        ("postgresql://db", "db:5432/"),
        (f"{LOGIN}db1:5433/shop", "db1:5433/shop"),
        (f"{LOGIN}db1:1,db2:2/shop?target_session_attrs=read-write", "db1:1,db2:2/shop"),
        (f"{LOGIN}db1:1,db2/shop", "db1:1,db2:5432/shop"),
        (f"{LOGIN}/shop?host=db1,db2&port=5433", "db1:5433,db2:5433/shop"),
        (f"{LOGIN}db1,[::1]:5433/shop", "db1:5432,::1:5433/shop"),
    ],
)
def test_an_address_has_each_host_with_its_port_and_no_password(url, address):
    assert describe_address(url) == address


def test_a_server_may_be_named_by_its_address():
    url = "postgresql:///shop?hostaddr=10.0.0.1,10.0.0.2&port=1,2"

    assert list_servers(url) == [("10.0.0.1", "1"), ("10.0.0.2", "2")]


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        (f"{LOGIN}db1:1,[::1]:2/shop?x=,", [f"{LOGIN}db1:1/shop?x=,", f"{LOGIN}[::1]:2/shop?x=,"]),
        ("postgresql://ada:a,b@db1/shop", ["postgresql://ada:a,b@db1/shop"]),
        ("a secret, and no URL", ["a secret, and no URL"]),
    ],
)
def test_a_url_is_split_into_one_for_each_host(text, urls):
    assert split_hosts(text) == urls
