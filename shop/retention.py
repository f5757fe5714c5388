"""Delete what the jobs of this service have kept for long enough, in small batches."""

from datetime import timedelta

from shop import campaigns, imports, sync
from shop.settings import settings
from workshed import db, tables
from workshed.contrib import notifications
from workshed.contrib.storage import blobs, storage
from workshed.jobs.context import checkpoint
from workshed.jobs.maintenance import retention
from workshed.settings import settings as workshed_settings

BATCH = 100


def prune() -> dict[str, int]:
    """Delete all of it, and return how many of each; none where the shop has no tables.

    Imports, and variants of what nobody holds any more, go before the contents that they refer to.
    """
    if not is_there():
        return {}
    config, ours = workshed_settings(), settings()
    return {
        "notifications": retention.all_of(notifications.prune, config.notification_retention),
        "changes of sources": retention.all_of(sync.prune, ours.sync_retention),
        "rows of campaigns": retention.all_of(campaigns.prune, ours.campaign_retention),
        "imports": retention.all_of(imports.prune, ours.import_retention),
        "variants": retention.all_of(blobs.forget_variants, config.blob_grace),
        "contents": _contents(config.blob_grace),
        "drafts of contents": storage().stale_drafts(config.blob_grace),
    }


def is_there() -> bool:
    """Tell whether the product has tables: who brings actors of their own needs none."""
    with db.transaction() as conn:
        return tables.has(conn, "blobs")


def _contents(older_than: timedelta) -> int:
    total, deleted = 0, BATCH
    while deleted == BATCH:
        checkpoint()
        deleted = blobs.sweep(older_than, BATCH)
        total += deleted
    return total
