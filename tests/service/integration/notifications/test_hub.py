"""When a stream is woken by a hub that runs in the test."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from shop.web.events.hub import Hub
from shop.web.events.subscription import Subscription
from workshed.contrib.notifications import channel


@pytest.fixture
def notify(connect, database):
    """`notify(user_id, payload)`: notify the channel of a user immediately."""
    conn = connect(autocommit=True)
    return lambda user_id, payload="1": conn.execute(
        "SELECT pg_notify(%s, %s)", (channel(user_id), payload)
    )


@asynccontextmanager
async def hub_in_use():
    """A hub that is connected, because it has a stream of another user."""
    hub, other = Hub(sweep_s=1_000), Subscription("0")
    with hub.subscribe(other):
        await other.wait()
        yield hub
    await hub.close()


async def woken(place, within_s=60):
    async with asyncio.timeout(within_s):
        await place.wait()


def test_a_stream_is_first_woken_once_no_notification_can_be_missed(notify):
    """If woken earlier, it would read, and then miss notifications before the LISTEN."""

    async def run():
        async with hub_in_use() as hub:
            for user_id in map(str, range(1, 20)):
                place = Subscription(user_id)
                with hub.subscribe(place):
                    await woken(place)
                    notify(user_id)
                    await woken(place)

    asyncio.run(run())


def test_a_stream_that_has_sent_a_number_is_not_woken_for_it(notify):
    async def run():
        async with hub_in_use() as hub:
            place = Subscription("1")
            with hub.subscribe(place):
                await woken(place)
                place.last_sent = 7
                notify("1", "7")
                with pytest.raises(TimeoutError):
                    await woken(place, within_s=0.2)
                notify("1", "8")
                await woken(place)

    asyncio.run(run())


def test_other_payloads_on_the_channel_break_nothing(notify):
    async def run():
        async with hub_in_use() as hub:
            place = Subscription("1")
            with hub.subscribe(place):
                await woken(place)
                for payload in ("", "what", "-1", "\N{SUPERSCRIPT TWO}"):
                    notify("1", payload)
                    await woken(place)

    asyncio.run(run())


def test_a_stream_that_comes_while_the_last_one_leaves_is_woken(notify):
    async def run():
        async with hub_in_use() as hub:
            for _ in range(20):
                with hub.subscribe(Subscription("1")):
                    await asyncio.sleep(0)
                place = Subscription("1")
                with hub.subscribe(place):
                    await woken(place)
                    notify("1")
                    await woken(place)

    asyncio.run(run())


def test_a_hub_that_had_no_streams_for_a_while_works_again(notify):
    async def run():
        hub = Hub(sweep_s=1_000)
        for _ in range(3):
            place = Subscription("1")
            with hub.subscribe(place):
                await woken(place)
                notify("1")
                await woken(place)
            await hub._task
        await hub.close()

    asyncio.run(run())
