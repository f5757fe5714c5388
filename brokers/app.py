"""The sample application: its queues, and its extensions of Workshed's processes."""

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
    settings="shop.settings:ShopSettings",
    middleware="middleware:CHAIN",
    actors=("actors",),
    migrations={
        "workshed_storage": "workshed.contrib.storage",
        "workshed_mail": "workshed.contrib.mail",
        "workshed_notifications": "workshed.contrib.notifications",
        "shop": "shop",
    },
    grants=(
        "workshed.contrib.storage.tables:GRANTS",
        "workshed.contrib.mail.tables:GRANTS",
        "workshed.contrib.notifications.tables:GRANTS",
        "shop.grants:GRANTS",
    ),
    relay_tasks=(
        "workshed.contrib.mail.relay_gauge:MailTroubleGauge",
        "shop.sync_age_gauge:SyncAgeGauge",
        "shop.report_age_gauge:measure_report_age",
    ),
    checks=(
        "workshed.contrib.mail.check:CHECKS",
        "workshed.contrib.storage.check:CHECKS",
        "shop.chart_check:CHECKS",
    ),
    metrics=("workshed.contrib.mail.meters", "shop.meters", "middleware.metrics"),
    pages=(
        "shop.web.pages.imports",
        "shop.web.pages.campaigns",
        "shop.web.pages.reports",
        "workshed.contrib.mail.page",
    ),
    commands={
        "mail": "workshed.contrib.cli.mail:mail",
        "storage": "workshed.contrib.cli.storage:storage",
    },
)
