"""The tables of notifications: their stream of migrations, and what each role may do with them.

An App names them with `migrations={"workshed_notifications": "workshed.contrib.notifications"}` and
`grants=("workshed.contrib.notifications.tables:GRANTS",)`.
"""

from workshed.roles import Grants

STREAM = "workshed_notifications"
"""The name of the stream, and of its schema."""

GRANTS = Grants(
    schema=STREAM,
    tables={
        "workshed_notifications.inboxes": {
            "application": "rawd",
            "worker": "rawd",
            "operator": "rawd",
        },
        "workshed_notifications.notifications": {
            "application": "rad",
            "worker": "rawd",
            "operator": "rad",
        },
    },
)
