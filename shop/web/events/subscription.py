"""The position of one event stream, and its wake-up event."""

import asyncio


class Subscription:
    """The state of a user's stream: the last number it has sent, and whether there may be more."""

    __slots__ = ("_wake_event", "is_expired", "is_listening", "is_over", "last_sent", "user_id")

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.last_sent: int | None = None
        self.is_listening = False
        self.is_over = False
        self.is_expired = False
        self._wake_event = asyncio.Event()

    def start_listening(self) -> None:
        """Wake the stream for the first time, now that its user's channel is listened to.

        If it had read earlier, a notification committed after that read would not wake it.
        """
        if not self.is_listening:
            self.is_listening = True
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
        self._wake_event.set()

    async def wait(self) -> None:
        """Wait until the stream is woken; a wake-up while it reads is not lost."""
        await self._wake_event.wait()
        self._wake_event.clear()
