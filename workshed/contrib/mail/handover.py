"""Whether a mail can still be taken back: until its final dot is sent, no server delivers it."""

from workshed import interrupts
from workshed.contrib.mail.errors import MailWithdrawnError


class Handover:
    """The end of one mail: sent by the thread that delivers it, or withdrawn before that.

    A process that leaves in the middle withdraws what its threads have not ended. They may be in a
    call that nothing interrupts, and must not send the end afterwards.
    """

    def __init__(self) -> None:
        """Be neither sent nor withdrawn."""
        self._lock = interrupts.repaired_lock()
        self._has_ended = False
        self._is_withdrawn = False

    def end(self) -> None:
        """Call this before sending the final dot; raises `MailWithdrawnError`."""
        with self._lock:
            if self._is_withdrawn:
                raise MailWithdrawnError
            self._has_ended = True

    def withdraw(self) -> bool:
        """Keep the mail from being sent; False where it may be out already."""
        with self._lock:
            self._is_withdrawn = not self._has_ended
            return self._is_withdrawn
