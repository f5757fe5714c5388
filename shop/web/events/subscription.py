"""The position of one event stream, and its wake-up event."""

import asyncio


class Subscription:
    """The state of a user's stream: the last number it has sent, and whether there may be more."""

    __slots__ = ("_stirred", "is_expired", "is_heard", "is_over", "seen", "user_id")

    def __init__(self, user_id: str) -> None:
        """Start without a position."""
        self.user_id = user_id
        self.seen: int | None = None
        self.is_heard = False
        self.is_over = False
        self.is_expired = False
        self._stirred = asyncio.Event()

    def hear(self) -> None:
        """Wake the stream for the first time, now that its user's channel is listened to.

        If it had read earlier, a notification committed after that read would not wake it.
        """
        if not self.is_heard:
            self.is_heard = True
            self.wake()

    def set(self) -> None:
        """End the stream; `EventSourceResponse` calls this on shutdown of the server."""
        self.is_over = True
        self.wake()

    def expire(self) -> None:
        """End the stream, and let its browser know that it need not reconnect."""
        self.is_expired = True
        self.set()

    def wake(self) -> None:
        """Let the stream check for notifications."""
        self._stirred.set()

    async def woken(self) -> None:
        """Wait until the stream is woken; a wake-up while it reads is not lost."""
        await self._stirred.wait()
        self._stirred.clear()
