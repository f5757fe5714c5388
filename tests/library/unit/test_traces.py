"""The headers of a trace in a message's options."""

from workshed.jobs import traces

ID = "4bf92f3577b34da6a3ce929d0e0e4736"
W3C = {"traceparent": f"00-{ID}-00f067aa0ba902b7-01", "baggage": "shop=7"}
SENTRY = {"sentry-trace": f"{ID}-00f067aa0ba902b7-1", "baggage": f"sentry-trace_id={ID}"}


def test_a_message_keeps_the_trace_it_was_sent_in_first():
    options = {"trace": dict(W3C)}

    traces.add_headers(options, {"traceparent": "00-other", "baggage": "shop=8"})

    assert options == {"trace": W3C}


def test_two_tracers_share_the_baggage():
    options = {}

    traces.add_headers(options, W3C)
    traces.add_headers(options, SENTRY)

    assert options["trace"]["baggage"] == f"shop=7,sentry-trace_id={ID}"
    assert set(options["trace"]) == {"traceparent", "sentry-trace", "baggage"}


def test_headers_that_no_message_can_carry_are_left_out():
    """They would have the job refused on delivery, when its sender has moved on."""
    options = {}

    traces.add_headers(
        options, {**W3C, "baggage": "x" * 1_025, "tracestate": "ä", "uber-trace": "1"}
    )
    traces.add_headers(options, {"sentry-trace": "1", "baggage": "ö"})

    assert options["trace"] == {"traceparent": W3C["traceparent"], "sentry-trace": "1"}
    assert traces.headers_problem(options["trace"]) is None


def test_copies_of_a_message_do_not_share_headers_added_later():
    first = {"trace": {"traceparent": "1"}}
    second = dict(first)

    traces.add_headers(second, SENTRY)

    assert first == {"trace": {"traceparent": "1"}}


def test_the_id_of_a_trace_is_read_from_either_header():
    assert traces.find_trace_id({"trace": W3C}) == ID
    assert traces.find_trace_id({"trace": SENTRY}) == ID
    assert traces.find_trace_id({"trace": {"traceparent": "what"}}) is None
    assert traces.find_trace_id({}) is None
