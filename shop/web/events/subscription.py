"""Where one stream stands, and what wakes it."""

import asyncio


class Subscription:
    """A stream of a user: the last number it has sent, and whether there may be more."""

    __slots__ = ("_stirred", "is_expired", "is_heard", "is_over", "seen", "user_id")

    def __init__(self, user_id: str) -> None:
        """Begin where nothing is known yet."""
        self.user_id = user_id
        self.seen: int | None = None
        self.is_heard = False
        self.is_over = False
        self.is_expired = False
        self._stirred = asyncio.Event()

    def hear(self) -> None:
        """Wake the stream for the first time, now that nothing comes unheard.

        What is committed after a read that came before that would wake nobody.
        """
        if not self.is_heard:
            self.is_heard = True
            self.wake()

    def set(self) -> None:
        """Let the stream end; `EventSourceResponse` calls it so when the server does."""
        self.is_over = True
        self.wake()

    def expire(self) -> None:
        """Let the stream end, and its browser know that it need not come back."""
        self.is_expired = True
        self.set()

    def wake(self) -> None:
        """Let the stream look what is there."""
        self._stirred.set()

    async def woken(self) -> None:
        """Wait until somebody wakes the stream; what comes while it reads wakes it again."""
        await self._stirred.wait()
        self._stirred.clear()
