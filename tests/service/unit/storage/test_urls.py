"""Parsing the URL of a storage."""

from pathlib import Path

import pytest

from workshed.contrib.storage.local import LocalStorage
from workshed.contrib.storage.s3_address import S3Address
from workshed.errors import SettingsError

CANARY = "s3cr3tcanary"


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("file:var/storage", Path("var/storage").absolute()),
        ("file:/srv/contents", Path("/srv/contents")),
        ("file:///srv/contents", Path("/srv/contents")),
        ("file:///srv/some%20place", Path("/srv/some place")),
        ("file:100%", Path("100%").absolute()),
    ],
)
def test_a_folder_is_read(url, folder):
    assert LocalStorage.from_url(url).root == folder


@pytest.mark.parametrize("url", ["file:", "file://", "file://host/path", "file:\0"])
def test_an_invalid_folder_is_refused(url):
    with pytest.raises(SettingsError, match=r"WORKSHED_STORAGE_URL: names .*; write file:"):
        LocalStorage.from_url(url)


def test_all_of_an_address_is_read():
    url = (
        "s3://key:a%2Fb%2Bc@pictures/some%20where/deep/?region=eu-west-1&endpoint=https://s3:9000/"
    )

    address = S3Address.from_url(url)

    assert address == S3Address(
        bucket="pictures",
        prefix="some where/deep",
        region="eu-west-1",
        endpoint="https://s3:9000",
        key_id="key",
        secret="a/b+c",
    )
    assert not address.is_plain


def test_a_bucket_is_enough():
    assert S3Address.from_url("s3://pictures") == S3Address("pictures", "", None, None, None, None)


def test_only_an_endpoint_that_says_http_is_spoken_to_in_clear():
    assert S3Address.from_url("s3://pictures?endpoint=http://127.0.0.1:9000").is_plain
    assert not S3Address.from_url("s3://pictures").is_plain


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://", "names no bucket"),
        ("s3:///prefix", "names no bucket"),
        ("s3://[bucket", "cannot be read"),
        ("s3://bucket:9000/prefix", "a bucket has no port"),
        ("s3://bucket:port/prefix", "cannot be read"),
        (f"s3://{CANARY}@bucket", "half of the credentials"),
        (f"s3://:{CANARY}@bucket", "half of the credentials"),
        (
            f"s3://key:{CANARY}@bucket?regoin=x",
            "'regoin' is not an option; known are endpoint, region",
        ),
        ("s3://bucket?region=", "region is empty"),
        ("s3://bucket/a/../b", "cannot hold '..'"),
        ("s3://bucket?endpoint=127.0.0.1:9000", "endpoint must be like https://host:port"),
        ("s3://bucket?endpoint=ftp://host", "endpoint must be like"),
        ("s3://bucket?endpoint=http://", "endpoint must be like"),
        ("s3://bucket?endpoint=http://host:port", "endpoint must be like"),
        (f"s3://bucket?endpoint=http://key:{CANARY}@host", "endpoint must be like"),
        (f"s3://bucket?endpoint=http://host?x={CANARY}", "endpoint must be like"),
    ],
)
def test_an_address_that_cannot_be_read_is_refused_and_not_quoted(url, said):
    with pytest.raises(SettingsError) as error:
        S3Address.from_url(url)

    assert str(error.value).startswith("WORKSHED_STORAGE_URL: ")
    assert said in str(error.value)
    assert CANARY not in str(error.value)


def test_an_address_names_itself_without_its_credentials():
    address = S3Address.from_url(f"s3://key:{CANARY}@pictures/a?endpoint=https://s3.example.org")

    assert str(address) == "s3://pictures/a at https://s3.example.org"
    assert CANARY not in repr(address)
    assert "key" not in repr(address)
