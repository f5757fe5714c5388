"""What this service measures, in addition to what Workshed measures of every job."""

from workshed.metrics import Counter, Gauge

SYNC_REQUESTS = Counter(
    "sync_requests",
    "Requests to a source: `answered`, or a failure by its verdict: `retry`, `alert` or `dead`.",
    ("source", "outcome"),
    namespace="shop",
)

# Each relay measures these: take the `max`.
REPORT_AGE = Gauge(
    "report_age_seconds",
    "How long ago the last day ended that has a daily report, or since when there could have been "
    "one; not a number where no worker has that job, or it is paused.",
    mode="livemin",
    namespace="shop",
)
SYNC_AGE = Gauge(
    "sync_age_seconds",
    "How long ago a listing of the source was read to its end, or since when none was.",
    ("source",),
    mode="livemax",
    namespace="shop",
)
SYNC_FAILED = Gauge(
    "sync_failed_runs",
    "Runs of the source that failed since.",
    ("source",),
    mode="livemax",
    namespace="shop",
)
