"""The consumer tag: how a consumer identifies itself on RabbitMQ."""

import os

from hypothesis import example, given
from hypothesis import strategies as st

from workshed.transport.consuming.consumer_tag import make_tag, parse_tag

SHOP = [("send_invoice", "shop.jobs"), ("deliver", "shop.mails")]


def test_a_tag_names_the_process_and_its_modules():
    found = parse_tag(make_tag(SHOP))

    assert found.name.startswith("shop.jobs,shop.mails on ")
    assert found.pid == str(os.getpid())


def test_an_actor_without_a_module_is_no_obstacle():
    """A method of a built-in type has none; if the tag failed, its consumer would never start."""
    found = parse_tag(make_tag([("append", None), ("greet", "shop.jobs")]))

    assert found.modules == "shop.jobs"


def test_no_two_tags_are_the_same():
    """pika stores callbacks by tag, and RabbitMQ refuses a tag that the channel already has."""
    assert make_tag(SHOP) != make_tag(SHOP)


def test_the_digest_depends_only_on_the_names_of_the_actors():
    digest = parse_tag(make_tag(SHOP)).digest

    assert parse_tag(make_tag(SHOP[::-1])).digest == digest
    assert parse_tag(make_tag([(name, "elsewhere") for name, _ in SHOP])).digest == digest
    assert parse_tag(make_tag(SHOP[:1])).digest != digest


def test_a_tag_of_another_program_is_not_parsed():
    assert parse_tag("ctag1.0123456789") is None
    assert parse_tag("a/b/c/d/e/f") is None


@given(st.lists(st.tuples(st.text(), st.text()), max_size=20))
@example([("send", "\u6a21" * 100)])  # three bytes each
def test_a_tag_fits_into_a_short_string_of_amqp(actors):
    tag = make_tag(actors)

    assert len(tag.encode()) <= 255
    assert parse_tag(tag).digest == parse_tag(make_tag(actors)).digest
