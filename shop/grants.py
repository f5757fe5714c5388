"""The rights of the roles of `workshed roles` on the tables of the shop."""

from workshed.roles import Grants

READ_WRITE_RIGHTS = {"worker": "rawd", "operator": "rawd", "reader": "r"}
"""Rights on a table that jobs write, and that commands and the console also change."""

GRANTS = Grants(
    schema="shop",
    tables={
        "shop.attachments": READ_WRITE_RIGHTS,
        "shop.campaign_recipients": READ_WRITE_RIGHTS,
        "shop.campaigns": READ_WRITE_RIGHTS,
        "shop.daily_report_snapshots": {"worker": "rawd", "reader": "r", "operator": "r"},
        "shop.image_variants": {"worker": "rawd", "reader": "r", "operator": "r"},
        "shop.import_rows": READ_WRITE_RIGHTS,
        "shop.imports": READ_WRITE_RIGHTS,
        "shop.order_lines": {"worker": "r", "reader": "r", "operator": "r"},
        "shop.orders": {"worker": "r", "reader": "r", "operator": "r"},
        "shop.products": {"worker": "r", "reader": "r", "operator": "r"},
        "shop.sync_associations": {"worker": "rawd", "reader": "r", "operator": "r"},
        "shop.sync_cursors": {"worker": "rawd", "reader": "r", "operator": "r"},
        "shop.sync_log": {"worker": "rawd", "reader": "r", "operator": "r"},
        "shop.sync_skipped": READ_WRITE_RIGHTS,
        "shop.sync_records": {"worker": "rawd", "reader": "r", "operator": "r"},
        "shop.sync_sources": {**READ_WRITE_RIGHTS, "relay": "r", "monitor": "r"},
        "shop.users": {"application": "r", "worker": "raw", "reader": "r", "operator": "raw"},
    },
    columns={
        # The relay measures the age of the last report.
        "shop.daily_report_snapshots": {"relay": {"r": "ends_at"}},
        # The application signs people up, but cannot make them admins.
        "shop.users": {"application": {"a": "name, email", "w": "activated_at, unsubscribed_at"}},
    },
    functions={"shop.forget_user": ()},  # only for its trigger
)
"""All tables of the shop; a test fails if one is missing."""
