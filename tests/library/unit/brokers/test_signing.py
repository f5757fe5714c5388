"""Signatures: altered messages and messages signed with an unknown key are refused."""

import datetime as dt
from decimal import Decimal
from itertools import pairwise

import pytest
from dramatiq import Message
from hypothesis import assume, given
from hypothesis import strategies as st

from workshed.errors import SettingsError
from workshed.queues import Queue
from workshed.settings import Settings, settings
from workshed.transport.amqp.acks import AckingChannel
from workshed.transport.amqp.codec import DeliveryProperties, RawDelivery
from workshed.transport.consuming.delivery import receive_letter
from workshed.transport.errors import EnvelopeError, SignatureError
from workshed.transport.messages.signing import (
    SIGNATURE_HEADER,
    Signing,
    build_signing,
    verify_and_decode,
)

OLD, NEW, FOREIGN = "o" * 32, "n" * 32, "f" * 32
OURS = Signing([NEW], required=True)
ACTED_ON = ("published_ms", "outbox", "possible_duplicate")

queues = st.text(max_size=20)
bodies = st.binary(max_size=200)
numbers = st.integers(-(2**63), 2**63 - 1)
values = st.none() | st.booleans() | numbers | st.text(max_size=20)
acted_on = st.fixed_dictionaries({}, optional=dict.fromkeys(ACTED_ON, values))
anything = st.recursive(
    values
    | st.floats()
    | st.binary(max_size=20)
    | st.datetimes()
    | st.just(Decimal(7))
    | st.from_regex(r"v1:[0-9a-f]{8}:[0-9a-f]{64}", fullmatch=True),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
"""Any value that AMQP allows in a header."""


def signed(queue, headers, body, by=OURS):
    return {**headers, SIGNATURE_HEADER: by.sign(queue, headers, body)}


def as_read(headers):
    """The headers as a consumer reads them: an absent one and `None` are the same."""
    return [(type(headers.get(name)), headers.get(name)) for name in ACTED_ON]


@given(queues, acted_on, st.dictionaries(st.text(), anything, max_size=3), bodies)
def test_a_signed_message_is_accepted_with_any_other_headers(queue, headers, others, body):
    assume(not others.keys() & set(ACTED_ON))

    OURS.verify(queue, {**others, **signed(queue, headers, body)}, body)


@given(queues, acted_on, bodies.filter(bool), st.data())
def test_a_body_with_one_changed_byte_is_refused(queue, headers, body, data):
    place = data.draw(st.integers(0, len(body) - 1))
    changed = bytes([body[place] ^ data.draw(st.integers(1, 255))])
    altered = body[:place] + changed + body[place + 1 :]

    with pytest.raises(SignatureError, match="signature: does not fit"):
        OURS.verify(queue, signed(queue, headers, body), altered)


@given(queues, queues, acted_on, bodies)
def test_a_message_signed_for_another_queue_is_refused(queue, other, headers, body):
    assume(queue != other)

    with pytest.raises(SignatureError, match="signature: does not fit"):
        OURS.verify(other, signed(queue, headers, body), body)


@given(acted_on, st.sampled_from(ACTED_ON), anything, bodies)
def test_a_header_that_a_consumer_acts_on_cannot_be_set_changed_or_taken_away(
    headers, name, value, body
):
    """Without `outbox` or `possible_duplicate`, no duplicate is looked for.

    An old `published_ms` would make a copy too old for that.
    """
    altered = {**headers, name: value}
    assume(as_read(altered) != as_read(headers))

    with pytest.raises(SignatureError, match="signature: does not fit"):
        OURS.verify("default", {**signed("default", headers, body), **altered}, body)


def test_a_consumer_acts_on_no_header_that_is_not_signed():
    """If you make it act on another header, sign that header too."""

    looked_at = set()

    class Watched(dict):
        def get(self, name, default=None):
            looked_at.add(name)
            return default

    properties = DeliveryProperties(Watched(x=1), None, b"")
    message = Message("default", "greet", (), {}, {})
    receive_letter(
        message, Queue("default"), AckingChannel(None), RawDelivery(1, False, properties, b"")
    )

    assert looked_at == set(ACTED_ON)


@given(queues, acted_on, bodies, queues, acted_on, bodies)
def test_no_two_messages_have_one_signature(queue, headers, body, queue_2, headers_2, body_2):
    same = (queue, as_read(headers), body) == (queue_2, as_read(headers_2), body_2)

    assert (OURS.sign(queue, headers, body) == OURS.sign(queue_2, headers_2, body_2)) is same


@given(st.integers(1, 40), st.binary(min_size=1, max_size=40))
def test_bytes_cannot_move_from_the_body_to_the_queue_name(cut, body):
    """If the queue's bytes came right before the body's, both signatures would be the same."""
    whole = OURS.sign("default", {}, body)

    assert OURS.sign("default" + body[:cut].decode("latin-1"), {}, body[cut:]) != whole


@given(st.integers(0, 200), st.text(max_size=1))
def test_no_character_of_a_signature_can_be_changed(place, instead):
    headers = signed("default", {}, b"{}")
    given = headers[SIGNATURE_HEADER]
    headers[SIGNATURE_HEADER] = given[:place] + instead + given[place + 1 :]
    assume(headers[SIGNATURE_HEADER] != given)

    with pytest.raises(SignatureError, match="signature: "):
        OURS.verify("default", headers, b"{}")


@given(
    st.none() | st.dictionaries(st.sampled_from([*ACTED_ON, SIGNATURE_HEADER, "x"]), anything),
    st.booleans(),
    bodies,
)
def test_whatever_stands_in_the_headers_is_refused_in_words(headers, required, body):
    """Another kind of error would end the channel, and with it the healthy deliveries."""
    with pytest.raises(EnvelopeError):  # even if unsigned ones are accepted: it is no message
        verify_and_decode(Signing([NEW], required=required), "default", headers, body)


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        (None, "signature: is missing"),
        ({SIGNATURE_HEADER: b"v1"}, "signature: is not a signature of Workshed: b'v1'"),
        ({SIGNATURE_HEADER: "v0:x"}, "signature: is not a signature of Workshed: 'v0:x'"),
        (
            {SIGNATURE_HEADER: "v1"},
            "signature: was made with a key that is not in WORKSHED_SIGNING_KEYS: ''",
        ),
        (
            {SIGNATURE_HEADER: f"v1:{OURS.key_ids[0]}:é"},
            "signature: does not fit: the body, its queue",
        ),
        (
            {
                SIGNATURE_HEADER: f"v1:{OURS.key_ids[0]}:x",
                "outbox": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
            },
            "signature: does not fit: a header cannot be signed",
        ),
    ],
)
def test_the_error_says_what_is_wrong(headers, said):
    with pytest.raises(SignatureError, match=said):
        OURS.verify("default", headers, b"{}")


def test_no_message_is_refused_while_a_key_is_replaced_step_by_step():
    """A worker at one step accepts what is sent at the step before and at the step after."""
    steps = [Signing(keys, required=True) for keys in ([OLD], [OLD, NEW], [NEW, OLD], [NEW])]

    for one, next_one in pairwise(steps):
        for sender, worker in ((one, next_one), (next_one, one), (one, one)):
            worker.verify("default", signed("default", {}, b"{}", by=sender), b"{}")


def test_a_key_that_signs_before_all_accept_it_is_refused():
    """This is why a new key goes second at first."""
    hasty = signed("default", {}, b"{}", by=Signing([NEW, OLD], required=True))

    with pytest.raises(
        SignatureError, match=("was made with a key that is not in WORKSHED_SIGNING_KEYS")
    ):
        Signing([OLD], required=True).verify("default", hasty, b"{}")


@pytest.mark.parametrize("required", [True, False])
def test_messages_not_signed_by_the_newest_key_are_counted(counted, required):
    ours = Signing([NEW, OLD], required=required)
    by = {
        keys: signed("q", {}, b"{}", by=Signing([keys], required=True)) for keys in (OLD, FOREIGN)
    }
    odd = {
        "older": by[OLD],
        "unknown": by[FOREIGN],
        "missing": {},
        "altered": {**by[OLD], "outbox": False},
    }
    before = {what: counted("signature_problems_total", queue="q", problem=what) for what in odd}

    refused = []
    for what, headers in odd.items():
        try:
            ours.verify("q", headers, b"{}")
        except SignatureError:
            refused.append(what)
    ours.verify("q", signed("q", {}, b"{}", by=ours), b"{}")

    assert refused == (["unknown", "missing", "altered"] if required else [])
    after = {what: counted("signature_problems_total", queue="q", problem=what) for what in odd}
    assert {what: after[what] - before[what] for what in odd} == dict.fromkeys(odd, 1)


def test_unsigned_messages_that_run_are_logged_once_per_queue(caplog):
    ours = Signing([NEW], required=False)

    for queue in ("default", "emails", "default"):
        ours.verify(queue, {}, b"{}")

    assert [record.args[0] for record in caplog.records] == ["default", "emails"]
    assert "the signature of a message is missing; it runs, as WORKSHED_SIGNING is accept" in (
        caplog.text
    )


def test_keys_are_read_from_the_settings_the_newest_first(monkeypatch):
    assert build_signing(settings()) is None

    monkeypatch.setenv("WORKSHED_SIGNING_KEYS", f" {NEW} ,{OLD}")
    settings.cache_clear()
    found = build_signing(settings())

    assert found.key_ids == [*OURS.key_ids, *Signing([OLD], required=True).key_ids]
    assert found.required
    OURS.verify("default", signed("default", {}, b"{}", by=found), b"{}")


@pytest.mark.parametrize("keys", ["short", f"{NEW},", f"{NEW},short", ","])
def test_short_keys_are_refused_and_not_shown(keys, monkeypatch):
    monkeypatch.setenv("WORKSHED_SIGNING_KEYS", keys)

    with pytest.raises(SettingsError, match="SIGNING_KEYS: each key must have at least 32") as err:
        settings()

    assert "short" not in str(err.value)
    assert NEW not in str(err.value)


@pytest.mark.parametrize("keys", [None, ""])
@pytest.mark.parametrize("signing", ["require", "accept"])
def test_who_wants_signatures_and_has_lost_the_keys_does_not_start(signing, keys, monkeypatch):
    """It would run messages from any sender."""
    monkeypatch.setenv("WORKSHED_SIGNING", signing)
    if keys is not None:
        monkeypatch.setenv("WORKSHED_SIGNING_KEYS", keys)

    with pytest.raises(SettingsError, match=f"SIGNING: is {signing}, and WORKSHED_SIGNING_KEYS is"):
        settings()


def test_keys_appear_in_no_repr_and_no_error():
    ours, config = Signing([NEW, OLD], required=True), Settings(signing_keys=f"{NEW},{OLD}")

    with pytest.raises(SignatureError) as err:
        ours.verify("default", {SIGNATURE_HEADER: "v1:x:y"}, b"{}")

    shown = f"{ours!r} {ours.key_ids} {config!r} {config} {err.value} {ours.sign('q', {}, b'')}"
    assert NEW not in shown
    assert OLD not in shown
