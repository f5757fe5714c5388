"""What the roles of `workshed roles` may do with the tables of the shop."""

from workshed.roles import Grants

WORKING = {"worker": "rawd", "operator": "rawd", "reader": "r"}
"""Rights on a table that jobs write, and that commands and the console change, too."""

GRANTS = Grants(
    schema="product",
    tables={
        "product.attachments": WORKING,
        "product.campaign_recipients": WORKING,
        "product.campaigns": WORKING,
        "product.daily_report_snapshots": {"worker": "rawd", "reader": "r", "operator": "r"},
        "product.image_variants": {"worker": "rawd", "reader": "r", "operator": "r"},
        "product.import_rows": WORKING,
        "product.imports": WORKING,
        "product.order_lines": {"worker": "r", "reader": "r", "operator": "r"},
        "product.orders": {"worker": "r", "reader": "r", "operator": "r"},
        "product.products": {"worker": "r", "reader": "r", "operator": "r"},
        "product.sync_associations": {"worker": "rawd", "reader": "r", "operator": "r"},
        "product.sync_cursors": {"worker": "rawd", "reader": "r", "operator": "r"},
        "product.sync_log": {"worker": "rawd", "reader": "r", "operator": "r"},
        "product.sync_skipped": WORKING,
        "product.sync_records": {"worker": "rawd", "reader": "r", "operator": "r"},
        "product.sync_sources": {**WORKING, "relay": "r", "monitor": "r"},
        "product.users": {"application": "r", "worker": "raw", "reader": "r", "operator": "raw"},
    },
    columns={
        # It measures how old the last report is.
        "product.daily_report_snapshots": {"relay": {"r": "ends_at"}},
        # It signs people up, and makes nobody an admin.
        "product.users": {
            "application": {"a": "name, email", "w": "activated_at, unsubscribed_at"}
        },
    },
    functions={"product.forget_user": ()},  # for its trigger alone
)
"""All tables of the shop; a test fails if one is missing."""
