"""Metrics of mails, set by relays. Every relay reports the same values: take the `max`."""

from workshed.metrics import Gauge

MAIL_SERVER_FAILING = Gauge(
    "mail_server_failing_seconds",
    "How long the mail server has accepted no emails; 0 once it accepts them again.",
    ("server",),
    mode="livemax",
)
MAILS_HELD = Gauge(
    "mails_held",
    "Emails that may have arrived twice, and are not sent again until an operator decides.",
    mode="livemax",
)
