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


def prune_expired() -> dict[str, int]:
    """Delete everything that is old enough, and return how many of each.

    Imports and unused variants are deleted before the contents that they refer to.
    """
    config, ours = workshed_settings(), settings()
    return {
        "notifications": retention.prune_all(
            notifications.prune_notifications, config.notification_retention
        ),
        "changes of sources": retention.prune_all(sync.prune_sync_data, ours.sync_retention),
        "rows of campaigns": retention.prune_all(
            campaigns.prune_campaigns, ours.campaign_retention
        ),
        "imports": retention.prune_all(imports.prune_imports, ours.import_retention),
        "variants": retention.prune_all(variants.delete_orphaned_variants, config.blob_grace),
        "contents": _delete_unreferenced(config.blob_grace),
        "drafts of contents": storage().prune_drafts(config.blob_grace),
    }


def _delete_unreferenced(older_than: timedelta) -> int:
    total, deleted = 0, BATCH
    while deleted == BATCH:
        checkpoint()
        deleted = blobs.delete_unreferenced(older_than, BATCH)
        total += deleted
    return total
