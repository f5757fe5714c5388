"""The sample application: its queues, and what it adds to the processes of Workshed."""

from workshed.app import App
from workshed.queues import Queue

QUEUES = (
    Queue("critical", weight=3),
    Queue("default", weight=2),
    Queue("imports", weight=2),
    Queue("emails", kind="classic", levels=4),
    Queue("images", cap=2),  # each takes a core while it runs
    Queue("scheduled"),
    Queue("bulk"),
    Queue("low"),
)

app = App(
    queues=QUEUES,
    relay_tasks=(
        "brokers.mail_troubles:MailTroubles",
        "brokers.sync_age:SyncAge",
        "brokers.report_age:tell_report_age",
    ),
    checks=(
        "console.doctor.smtp:CHECKS",
        "console.doctor.storage:CHECKS",
        "console.doctor.charts:CHECKS",
    ),
    pages=(
        "console.web.desk.pages.imports",
        "console.web.desk.pages.campaigns",
        "console.web.desk.pages.reports",
        "console.web.desk.pages.mail",
    ),
    commands={
        "campaigns": "console.cli.campaigns:campaigns",
        "import": "console.cli.import_people:import_people",
        "mail": "console.cli.mail:mail",
        "storage": "console.cli.storage:storage",
        "sync": "console.cli.sync:sync",
    },
)
