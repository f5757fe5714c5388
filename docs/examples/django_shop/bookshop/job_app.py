"""What the bookshop adds to Workshed: queues with weights, and the parts of `workshed.contrib`."""

from workshed import App, Queue

app = App(
    queues=(
        Queue("critical", weight=3),
        Queue("default", weight=2),
        Queue("emails", weight=2, kind="classic", levels=4),
        Queue("images"),
        Queue("low"),
    ),
    actors=("workshed.contrib.django.setup",),
    migrations={
        "workshed_storage": "workshed.contrib.storage",
        "workshed_mail": "workshed.contrib.mail",
        "workshed_notifications": "workshed.contrib.notifications",
    },
    relay_tasks=("workshed.contrib.mail.relay_gauge:MailTroubleGauge",),
    checks=("workshed.contrib.mail.check:CHECKS", "workshed.contrib.storage.check:CHECKS"),
    pages=("workshed.contrib.mail.page",),
    commands={
        "mail": "workshed.contrib.cli.mail:mail",
        "storage": "workshed.contrib.cli.storage:storage",
    },
)
