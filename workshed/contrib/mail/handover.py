"""Whether a mail can still be withdrawn: no server delivers it before its final dot."""

from workshed import interrupts
from workshed.contrib.mail.errors import MailWithdrawnError


class Handover:
    """The end of one mail: either sent by the thread that delivers it, or withdrawn before that.

    A process that ends withdraws the mails that its threads have not finished. A thread may be in a
    call that cannot be interrupted, and must not send the final dot afterwards.
    """

    def __init__(self) -> None:
        self._lock = interrupts.create_repaired_lock()
        self._is_committed = False
        self._is_withdrawn = False

    def commit(self) -> None:
        """Allow the final dot, right before it is sent; raises `MailWithdrawnError`."""
        with self._lock:
            if self._is_withdrawn:
                raise MailWithdrawnError
            self._is_committed = True

    def withdraw(self) -> bool:
        """Prevent the mail from being sent; False if it may already be out."""
        with self._lock:
            self._is_withdrawn = not self._is_committed
            return self._is_withdrawn
