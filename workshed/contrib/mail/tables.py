"""The tables of mail: their stream of migrations, and what each role may do with them.

An App names them with `migrations={"workshed_storage": "workshed.contrib.storage", "workshed_mail":
"workshed.contrib.mail"}`, because the storage keeps the files of mails, and
`grants=("workshed.contrib.storage.tables:GRANTS", "workshed.contrib.mail.tables:GRANTS")`.
"""

from workshed.roles import Grants

STREAM = "workshed_mail"
"""The name of the stream, and of its schema."""
DELIVERY_RIGHTS = {"worker": "rawd", "operator": "rawd", "reader": "r"}

GRANTS = Grants(
    schema=STREAM,
    tables={
        "workshed_mail.email_files": {"application": "ra", **DELIVERY_RIGHTS},
        "workshed_mail.emails": {"application": "d", **DELIVERY_RIGHTS},
        "workshed_mail.mail_servers": {**DELIVERY_RIGHTS, "relay": "r", "monitor": "r"},
    },
    columns={
        "workshed_mail.emails": {
            # These roles count held mails without reading them.
            "relay": {"r": "held_at"},
            "monitor": {"r": "held_at"},
            # The application stores mails, once each, and deletes those of a user, but reads none.
            "application": {
                "a": "kind, user_id, about, recipient, recipient_name, subject, text_body, "
                "html_body, priority, message_id",
                "r": "id, kind, user_id, about",
                "w": "kind",
            },
        },
    },
)
