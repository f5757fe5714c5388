"""A thousand open streams on one process."""

import asyncio
import contextlib
import json
import resource
import time

import pytest

from workshed.contrib import notifications


class Crowd:
    """Many open streams, read in one thread, with the events of each and their times."""

    def __init__(self, port, tokens):
        self.port = port
        self.tokens = tokens
        self.heard = {user: [] for user in tokens}
        self.at = {}
        self.changed = asyncio.Event()

    async def open(self):
        self.streams = [
            asyncio.create_task(self._follow(user, token)) for user, token in self.tokens.items()
        ]

    async def _follow(self, user, token):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = ("GET /events?after=0 HTTP/1.1", "Host: x", f"Authorization: Bearer {token}")
        writer.write("\r\n".join([*head, "", ""]).encode())
        with contextlib.closing(writer):
            while line := await reader.readline():
                if line.startswith(b"data:"):
                    data = json.loads(line[5:])
                    self.heard[user].append(data)
                    self.at[user] = time.monotonic()
                    self.changed.set()

    async def until_heard(self, user, count):
        while len(self.heard[user]) < count:
            self.changed.clear()
            await self.changed.wait()

    async def until_each_heard(self, count, within_s=60):
        async with asyncio.timeout(within_s):
            for user in self.heard:
                await self.until_heard(user, count)

    async def close(self):
        for stream in self.streams:
            stream.cancel()
        await asyncio.gather(*self.streams, return_exceptions=True)


@pytest.fixture
def many_files():
    """Allow a socket per stream in this process and its children."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8_192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def percentile(values, share):
    return sorted(values)[int(share * (len(values) - 1))]


def in_ms(late):
    return f"p50 {percentile(late, 0.5) * 1e3:.1f} ms, p99 {percentile(late, 0.99) * 1e3:.1f} ms"


def test_a_thousand_streams_each_hear_their_own_over_a_few_connections(
    many_files, serve, people, connect, scale, capsys
):
    users = people(scale(1_000))
    tokens = {user: notifications.token(user) for user in users}
    served, conn, watching = serve(), connect(), connect(autocommit=True)

    def connections():
        query = """
            SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name LIKE 'workshed%'
        """
        return watching.execute(query).fetchone()[0]

    def tell(user, key):
        """Return the time of the commit."""
        notifications.notify(conn, user, "greeting", {"whose": user}, key=key)
        conn.commit()
        return time.monotonic()

    def tell_all(key):
        return {user: tell(user, key) for user in users}

    async def run():
        served.ask("/", cookie=tokens[users[0]])  # warm up
        before, crowd = served.rss_bytes(), Crowd(served.port, tokens)
        await crowd.open()
        await asyncio.to_thread(tell_all, "first")
        await crowd.until_each_heard(1)
        per_stream, used = (served.rss_bytes() - before) / len(users), connections()

        calm = []
        for user in users:
            committed = tell(user, "second")
            await crowd.until_heard(user, 2)
            calm.append(crowd.at[user] - committed)

        committed = await asyncio.to_thread(tell_all, "third")
        await crowd.until_each_heard(3)
        burst = [crowd.at[user] - committed[user] for user in users]
        await crowd.close()
        return crowd.heard, per_stream, used, calm, burst

    heard, per_stream, used, calm, burst = asyncio.run(run())

    assert heard == {user: [{"whose": user}] * 3 for user in users}
    assert used <= 5  # four for reading, one for listening
    with capsys.disabled():
        print(  # noqa: T201 -- the measured figures
            f"\n{len(users)} streams: {per_stream / 1024:.0f} KiB each, {used} connections; "
            f"from commit to browser {in_ms(calm)}; all notified at once {in_ms(burst)}"
        )
