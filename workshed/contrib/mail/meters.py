"""What relays measure of mails. Each relay tells the same: take the `max`."""

from workshed.metrics import Gauge

MAIL_SERVER_FAILING = Gauge(
    "mail_server_failing_seconds",
    "For how long the mail server has taken no mails; 0 since it takes them again.",
    ("server",),
    mode="livemax",
)
MAILS_HELD = Gauge(
    "mails_held",
    "Mails that may have arrived twice, and are not sent again until an operator decides.",
    mode="livemax",
)
