"""The metrics of this service, in addition to those that Workshed has for every job."""

from workshed.metrics import Counter, Gauge

SYNC_REQUESTS = Counter(
    "sync_requests",
    "Requests to a source: `answered`, or a failure by its verdict: `retry`, `alert` or `dead`.",
    ("source", "outcome"),
    namespace="shop",
)

# Every relay reports these, so queries take the `max`.
REPORT_AGE = Gauge(
    "report_age_seconds",
    "Time since the end of the last day that has a daily report, or since a report was first "
    "possible; NaN if no worker has that job, or it is paused.",
    mode="livemin",
    namespace="shop",
)
SYNC_AGE = Gauge(
    "sync_age_seconds",
    "Time since a listing of the source was last read completely, or since the source was added.",
    ("source",),
    mode="livemax",
    namespace="shop",
)
SYNC_FAILED = Gauge(
    "sync_failed_runs",
    "Failed runs of the source since its last complete listing.",
    ("source",),
    mode="livemax",
    namespace="shop",
)
