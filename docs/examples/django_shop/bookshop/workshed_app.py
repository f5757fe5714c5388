"""What the bookshop adds to Workshed: queues with weights, and tables of mail and files."""

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
)
