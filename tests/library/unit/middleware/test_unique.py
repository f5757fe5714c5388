"""The key of a unique job, and what is refused when its actor is declared."""

from datetime import timedelta

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from hypothesis import given
from hypothesis import strategies as st

from workshed.middleware import Unique, Uniqueness


def resize(attachment_id, width=800, *, quality=85):
    """An actor's function."""


def actor(fn=resize, **options):
    return dramatiq.Actor(
        fn,
        broker=StubBroker(middleware=[]),
        actor_name="resize",
        queue_name="images",
        priority=0,
        options=options,
    )


def message(*args, **kwargs):
    return dramatiq.Message("images", "resize", args, kwargs, {})


def key(rule, *args, **kwargs):
    return rule.key_of(actor(), message(*args, **kwargs))


def test_positional_and_named_arguments_and_defaults_give_one_key():
    rule = Unique()

    keys = {
        key(rule, 7),
        key(rule, attachment_id=7),
        key(rule, 7, 800),
        key(rule, 7, width=800, quality=85),
    }

    assert keys == {"resize:[7,800,85]"}


def test_only_the_arguments_named_make_the_key():
    rule = Unique(key=["attachment_id"])

    assert key(rule, 7, 100) == key(rule, 7, 200) == "resize:[7]"
    assert key(rule, 8) != key(rule, 7)


def test_a_function_makes_the_key():
    rule = Unique(key=lambda attachment_id, **_: attachment_id // 10)

    assert key(rule, 71) == key(rule, 79) == "resize:7"


def test_a_long_key_is_its_hash():
    found = key(Unique(), "x" * 10_000)

    assert found != key(Unique(), "x" * 10_001)
    assert len(found) == len("resize:") + 64


@pytest.mark.parametrize(
    "rule",
    [
        Unique(),
        Unique(key=["width", "attachment_id"]),
        Unique(key=lambda attachment_id, **_: attachment_id),
    ],
    ids=["of all", "of some", "of a function"],
)
def test_a_key_that_may_tell_what_is_redacted_is_its_hash(rule):
    """Keys appear in lists, logs and audits, where they are not hidden."""
    secretive = actor(redact=("attachment_id",))
    first, again, other = (rule.key_of(secretive, message(n)) for n in ("4242", "4242", "4343"))

    assert first == again != other
    assert len(first) == len("resize:") + 64
    assert "4242" not in first


def test_a_key_of_public_arguments_is_readable():
    rule = Unique(key=["width"])

    assert rule.key_of(actor(redact=("attachment_id",)), message(7, 100)) == "resize:[100]"


def test_a_key_that_is_no_json_is_refused_without_quoting_secrets():
    rule = Unique(key=lambda attachment_id, **_: {attachment_id})

    with pytest.raises(ValueError, match="made of redacted arguments") as refused:
        rule.key_of(actor(redact=("attachment_id",)), message("4242"))

    assert "4242" not in str(refused.value)


@given(st.dictionaries(st.text(max_size=5), st.integers(0, 100), max_size=5))
def test_the_order_of_a_mapping_does_not_matter(mapping):
    backwards = dict(reversed(mapping.items()))

    assert key(Unique(), mapping) == key(Unique(), backwards)


def test_a_key_that_is_no_json_is_refused():
    with pytest.raises(ValueError, match="resize: the key"):
        key(Unique(key=lambda *_: object()), 7)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        (
            {"strategy": "until_exectued"},
            "strategy='until_exectued': must be one of until_executing",
        ),
        ({"on_conflict": "drop"}, "on_conflict='drop': must be one of log"),
        ({"strategy": "until_expired"}, "needs unique_for"),
        ({"unique_for": timedelta()}, "at least a millisecond"),
        ({"strategy": "while_executing", "unique_for": timedelta(1)}, "takes no unique_for"),
        ({"strategy": "while_executing", "on_conflict": "replace"}, "cannot replace"),
    ],
)
def test_a_rule_that_could_not_work_is_refused(fields, match):
    with pytest.raises(ValueError, match=match):
        Unique(**fields)


@pytest.mark.parametrize(
    ("rule", "match"),
    [
        (Unique(key=["id"]), "no argument 'id', only attachment_id, width, quality"),
        ("until_executed", "is not a Unique"),
    ],
)
def test_an_actor_is_refused_at_its_declaration(rule, match):
    declared = actor()
    declared.options["unique"] = rule

    with pytest.raises(ValueError, match=match):
        Uniqueness().before_declare_actor(StubBroker(middleware=[]), declared)


@pytest.mark.parametrize(
    ("rule", "when_sent", "when_run"),
    [
        (Unique(), "log", "reschedule"),
        (Unique("while_executing"), "log", "reschedule"),
        (Unique("while_executing", on_conflict="log"), "log", "log"),
        (Unique("until_and_while_executing", on_conflict="log"), "log", "reschedule"),
        (Unique("until_and_while_executing", on_conflict="replace"), "replace", "reschedule"),
        (Unique("until_and_while_executing", on_conflict="raise"), "raise", "raise"),
    ],
)
def test_an_accepted_job_is_not_dropped_when_it_runs(rule, when_sent, when_run):
    assert (rule.enqueue_conflict, rule.run_conflict) == (when_sent, when_run)
