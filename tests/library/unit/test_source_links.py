"""Frames of the program lead to its repository."""

import pytest

from workshed.console.web.view.source_links import find_link, link_lines
from workshed.errors import SettingsError
from workshed.settings import settings

ADDRESS = "https://git.example/shop/blob/{release}/{path}#L{line}"
FRAME = '  File "/srv/shop/actors/pay ments.py", line 12, in charge_card'


@pytest.mark.parametrize(
    ("line", "folder", "release", "link"),
    [
        (FRAME, "/srv/shop", "r42", "https://git.example/shop/blob/r42/actors/pay%20ments.py#L12"),
        (FRAME, "/srv/shop/", "a/b", "https://git.example/shop/blob/a/b/actors/pay%20ments.py#L12"),
        (FRAME, "/srv/shop", None, None),
        (FRAME, "/srv/sho", "r42", None),
        ("    bank.charge(order)", "/srv/shop", "r42", None),
        ('  File "/srv/shop/../etc/x.py", line 1, in a', "/srv/shop", "r42", None),
        ('  File "/srv/shop", line 1, in a', "/srv/shop", "r42", None),
        (
            '  File "/srv/shop/{line}{release}\'<.py", line 1, in a',
            "/srv/shop",
            "r42",
            "https://git.example/shop/blob/r42/%7Bline%7D%7Brelease%7D%27%3C.py#L1",
        ),
        (
            r'  File "C:\shop\actors\pay.py", line 3, in charge',
            r"C:\shop",
            "r42",
            "https://git.example/shop/blob/r42/actors/pay.py#L3",
        ),
    ],
)
def test_a_frame_of_the_folder_has_a_link(line, folder, release, link):
    assert find_link(line, folder, ADDRESS, release) == link


def test_an_address_without_a_release_needs_none():
    assert find_link(FRAME, "/srv/shop", "https://git.example/{path}", None) is not None


def test_without_the_setting_there_are_no_links():
    lines = link_lines(f"{FRAME}\n    bank.charge(order)", "r42")

    assert [line.text for line in lines] == [FRAME, "    bank.charge(order)"]
    assert [line.link for line in lines] == [None, None]


@pytest.mark.parametrize(
    "wrong", ["/srv/shop", "https://git.example/{path}", "/srv=ftp://x", "=https://x"]
)
def test_a_setting_that_cannot_be_used_is_refused(monkeypatch, wrong):
    monkeypatch.setenv("WORKSHED_SOURCE_LINK", wrong)
    settings.cache_clear()

    with pytest.raises(SettingsError, match="must be like /srv/shop="):
        settings()
