"""Syncing records from third-party APIs, with limits and checks; each change is stored once."""

from shop.sync.errors import SourceBusyError, SourceError
from shop.sync.listing import PageResult, fetch_page, next_page, store_page
from shop.sync.records import fetch_record, store_record
from shop.sync.retention import prune_sync_data
from shop.sync.runs import record_dead_job, record_failure
from shop.sync.skipped_items import SkippedItem, list_skipped
from shop.sync.sources import (
    SyncSource,
    acquire_permit,
    add,
    close_circuit,
    count_records,
    list_source_names,
    list_sources,
    remove,
)

__all__ = [
    "PageResult",
    "SkippedItem",
    "SourceBusyError",
    "SourceError",
    "SyncSource",
    "acquire_permit",
    "add",
    "close_circuit",
    "count_records",
    "fetch_page",
    "fetch_record",
    "list_skipped",
    "list_source_names",
    "list_sources",
    "next_page",
    "prune_sync_data",
    "record_dead_job",
    "record_failure",
    "remove",
    "store_page",
    "store_record",
]
