"""Delete what the jobs of this service stored, after its retention time, in small batches."""

from datetime import timedelta

from shop import campaigns, imports, sync
from shop.images import variants
from shop.settings import settings
from workshed.contrib import notifications
from workshed.contrib.storage import blobs, storage
from workshed.jobs.context import checkpoint
from workshed.jobs.maintenance import retention
from workshed.settings import settings as workshed_settings

BATCH = 100


def prune() -> dict[str, int]:
    """Delete everything that is old enough, and return how many of each.

    Imports and unused variants are deleted before the contents that they refer to.
    """
    config, ours = workshed_settings(), settings()
    return {
        "notifications": retention.all_of(
            notifications.prune_notifications, config.notification_retention
        ),
        "changes of sources": retention.all_of(sync.prune, ours.sync_retention),
        "rows of campaigns": retention.all_of(campaigns.prune, ours.campaign_retention),
        "imports": retention.all_of(imports.prune, ours.import_retention),
        "variants": retention.all_of(variants.prune, config.blob_grace),
        "contents": _contents(config.blob_grace),
        "drafts of contents": storage().stale_drafts(config.blob_grace),
    }


def _contents(older_than: timedelta) -> int:
    total, deleted = 0, BATCH
    while deleted == BATCH:
        checkpoint()
        deleted = blobs.sweep(older_than, BATCH)
        total += deleted
    return total
