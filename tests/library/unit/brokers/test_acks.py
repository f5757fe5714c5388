"""Acks of a channel share frames and never give RabbitMQ a reason to close the channel."""

from hypothesis import given
from hypothesis import strategies as st

from workshed.transport.amqp.acks import AckingChannel


class RabbitMQ:
    """The server's side of a channel's deliveries, by the rules of AMQP."""

    is_open = True

    def __init__(self, delivered):
        self.unsettled = set(range(1, delivered + 1))
        self.acked, self.rejected, self.requeued = set(), set(), set()
        self.frames = 0

    def basic_ack(self, tag, multiple=False):
        self.frames += 1
        assert tag in self.unsettled, f"unknown delivery tag {tag}: the channel would be closed"
        tags = {t for t in self.unsettled if t <= tag} if multiple else {tag}
        self.unsettled -= tags
        self.acked |= tags

    def basic_reject(self, tag, *, requeue):
        self.frames += 1
        assert tag in self.unsettled
        self.unsettled.remove(tag)
        (self.requeued if requeue else self.rejected).add(tag)


settlements = st.integers(1, 40).flatmap(
    lambda count: st.tuples(
        st.permutations(range(1, count + 1)),
        st.lists(
            st.sampled_from(["ack", "ack", "ack", "reject", "requeue"]),
            min_size=count,
            max_size=count,
        ),
        st.lists(st.integers(1, 10), min_size=count, max_size=count),
    )
)


@given(settlements)
def test_each_delivery_is_settled_as_asked_and_no_other(said):
    order, verbs, sizes = said
    server = RabbitMQ(len(order))
    channel = AckingChannel(server)
    waiting = list(zip(order, verbs, strict=True))
    done = {"ack": set(), "reject": set(), "requeue": set()}

    for size in sizes:
        batch, waiting = waiting[:size], waiting[size:]
        channel.settle(batch)

        for tag, verb in batch:
            done[verb].add(tag)
        assert (server.acked, server.rejected, server.requeued) == tuple(done.values())


def test_acks_in_order_share_one_frame():
    server = RabbitMQ(100)

    AckingChannel(server).settle([(tag, "ack") for tag in range(1, 101)])

    assert (server.frames, server.unsettled) == (1, set())


def test_a_job_that_still_runs_is_not_acked_with_its_neighbours():
    server = RabbitMQ(5)
    channel = AckingChannel(server)

    channel.settle([(tag, "ack") for tag in (1, 2, 4, 5)])
    assert server.unsettled == {3}

    channel.settle([(3, "ack")])
    assert server.unsettled == set()
