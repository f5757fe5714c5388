"""Frames are read and written in one go with the same results as pika's, or left to pika."""

import struct

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika.spec import Basic, Channel

from workshed.transport.amqp.codec import MessageProperties, encode_publish, parse_delivery

NUMBER = 7
FRAME_MAX = 131_072

names = st.text(max_size=20).filter(lambda name: len(name.encode()) <= 255)
plain = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text(max_size=30), st.just("send")
)
rare = st.one_of(st.none(), st.lists(st.integers(0, 9), max_size=2), st.binary(max_size=9))
short = st.none() | st.text(max_size=30)


def properties(headers):
    return st.builds(
        pika.BasicProperties,
        content_type=short,
        content_encoding=short,
        headers=st.none() | headers,
        delivery_mode=st.none() | st.sampled_from([1, 2]),
        priority=st.none() | st.integers(0, 255),
        correlation_id=short,
        reply_to=short,
        expiration=short,
        message_id=short,
        timestamp=st.none() | st.integers(0, 2**40),
        type=short,
        user_id=short,
        app_id=short,
    )


def frames(method, headed, body, *, channel=NUMBER, piece=FRAME_MAX - 8):
    """The bytes of a message, as RabbitMQ writes them."""
    pieces = [body[at : at + piece] for at in range(0, len(body), piece)]
    written = [
        pika.frame.Method(channel, method),
        pika.frame.Header(channel, len(body), headed),
        *(pika.frame.Body(channel, one) for one in pieces),
    ]
    return [frame.marshal() for frame in written]


def deliver(tag=1, *, redelivered=False):
    return Basic.Deliver("ctag7.5e6f", tag, redelivered, "workshed.jobs", "default")


@given(
    st.integers(1, 2**64 - 1),
    st.booleans(),
    properties(st.dictionaries(names, plain, max_size=5)),
    st.binary(min_size=1, max_size=300),
    st.binary(max_size=20),
    st.binary(max_size=20),
)
def test_a_delivery_is_read_as_pika_reads_it(tag, redelivered, headed, body, before, after):
    data = b"".join(frames(deliver(tag, redelivered=redelivered), headed, body))

    found = parse_delivery(before + data + after, len(before))

    assert (found.tag, found.redelivered, found.body) == (tag, redelivered, body)
    assert found.consumer == b"ctag7.5e6f"
    assert found.end == len(before + data)
    by_pika = pika.BasicProperties().decode(headed_bytes(data))
    assert found.properties.headers == (by_pika.headers or {})
    assert found.properties.priority == by_pika.priority
    assert found.properties.message_id == by_pika.message_id


def headed_bytes(data):
    """The part of a header frame that pika decodes."""
    consumed, _ = pika.frame.decode_frame(data)
    end, _ = pika.frame.decode_frame(data[consumed:])
    return data[consumed:][7 : end - 1][12:]


@given(properties(st.dictionaries(names, rare, min_size=1, max_size=3)))
def test_unknown_header_values_are_left_to_pika(headed):
    data = b"".join(frames(deliver(), headed, b"body"))

    found = parse_delivery(data, 0)

    if headed.headers is None:
        assert found.properties.headers == {}
    else:
        assert found is None


@given(st.binary(min_size=1, max_size=100), st.data())
def test_a_part_of_a_delivery_waits_for_the_rest(body, data):
    headed = pika.BasicProperties(headers={"attempt": 1})
    whole = b"".join(frames(deliver(), headed, body))
    method, *_ = frames(deliver(), headed, body)
    cut = data.draw(st.integers(len(method), len(whole) - 1))

    assert parse_delivery(whole[:cut], 0) == "more"


def test_a_body_of_several_frames_is_left_to_pika():
    data = b"".join(frames(deliver(), pika.BasicProperties(), b"x" * 300, piece=100))

    assert parse_delivery(data, 0) is None


def test_an_empty_body_is_left_to_pika():
    """No body frame follows it; the next one belongs to another message."""
    data = b"".join(frames(deliver(), pika.BasicProperties(), b""))
    more = b"".join(frames(deliver(2), pika.BasicProperties(), b"body"))

    assert parse_delivery(data + more, 0) is None


@pytest.mark.parametrize(
    "between",
    [
        pika.frame.Heartbeat().marshal(),
        pika.frame.Method(NUMBER, Basic.Ack(1)).marshal(),
        pika.frame.Method(3, Channel.CloseOk()).marshal(),
        b"".join(frames(deliver(), pika.BasicProperties(), b"other", channel=3)),
    ],
    ids=["heartbeat", "ack", "close", "another channel"],
)
@pytest.mark.parametrize("place", [1, 2])
def test_frames_that_something_comes_between_are_left_to_pika(between, place):
    parts = frames(deliver(), pika.BasicProperties(headers={"attempt": 1}), b"body")
    parts.insert(place, between)

    assert parse_delivery(b"".join(parts), 0) is None


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_frame_without_its_end_is_left_to_pika(place):
    """pika then closes the connection, because the start of the next frame is unknown."""
    parts = frames(deliver(), pika.BasicProperties(), b"body")
    parts[place] = parts[place][:-1] + b"\x00"

    assert parse_delivery(b"".join(parts), 0) is None


stamps = st.builds(
    MessageProperties,
    message_id=names,
    type=names,
    timestamp=st.integers(0, 2**40),
    priority=st.none() | st.integers(0, 255),
    headers=st.dictionaries(names, plain | rare, max_size=6),
)


def by_pika(data):
    """The frames in some bytes."""
    found = []
    while data:
        consumed, frame = pika.frame.decode_frame(data)
        found.append(frame)
        data = data[consumed:]
    return found


@given(st.integers(1, 65_535), names, names, stamps, st.binary(max_size=300))
def test_a_message_is_written_as_pika_writes_it(channel, exchange, queue, stamp, body):
    data = encode_publish(channel, exchange, queue, stamp, body, longest=100)

    method, header, *pieces = by_pika(data)
    assert {frame.channel_number for frame in (method, header, *pieces)} == {channel}
    assert isinstance(method.method, Basic.Publish)
    assert (method.method.exchange, method.method.routing_key) == (exchange, queue)
    assert (method.method.mandatory, method.method.immediate) == (True, False)
    assert header.body_size == len(body)
    assert b"".join(piece.fragment for piece in pieces) == body
    assert all(len(piece.fragment) <= 100 for piece in pieces)
    want = pika.BasicProperties(
        content_type="application/json",
        headers=stamp.headers,
        delivery_mode=2,
        priority=stamp.priority,
        message_id=stamp.message_id,
        timestamp=stamp.timestamp,
        type=stamp.type,
        app_id="workshed",
    )
    assert data == b"".join(
        [
            frame.marshal()
            for frame in (method, pika.frame.Header(channel, len(body), want), *pieces)
        ]
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"message_id": "x" * 256},
        {"type": "\ud800"},
        {"priority": 256},
        {"timestamp": -1},
        {"headers": {"x" * 256: 1}},
        {"headers": {"size": 2**63}},
        {"headers": {"ratio": 0.5}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_properties_that_amqp_cannot_encode_are_refused(changes):
    """A malformed frame would end the connection that all senders share."""
    usual = {"message_id": "1", "type": "greet", "timestamp": 1, "priority": None, "headers": {}}

    with pytest.raises((ValueError, struct.error, pika.exceptions.AMQPError)):
        encode_publish(
            1, "workshed.jobs", "default", MessageProperties(**usual | changes), b"{}", longest=100
        )
