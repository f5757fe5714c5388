"""Metrics of jobs: labels come from closed sets, whatever a message says."""

import sys
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import get_args

import dramatiq
import pytest
from prometheus_client import REGISTRY, generate_latest

from tests import pages
from workshed.errors import DuplicateJobError
from workshed.metrics import meters, metric
from workshed.metrics.meters import SendResult
from workshed.metrics.metric import METRICS, Counter, Gauge, Histogram
from workshed.middleware import Job, Metrics, Outcome
from workshed.transport.publishing.outgoing import OutgoingMessage


@pytest.fixture(autouse=True)
def measured():
    """Let this process measure, starting from zero."""
    metric.set_enabled(on=False)
    metric.set_enabled(on=True)
    yield
    metric.set_enabled(on=True)


@pytest.fixture
def metrics():
    """Metrics of a program with one actor on one queue."""
    found = Metrics()
    found.after_declare_actor(None, SimpleNamespace(actor_name="greet"))
    found.after_declare_queue(None, "default")
    return found


def job(actor="greet", queue="default", **changes):
    message = dramatiq.Message(queue, actor, (), {}, {})
    published = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    found = Job(message, may_be_duplicate=False, published_s=published)
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def read_samples(name):
    """The samples of a metric."""
    families = {family.name: family for family in REGISTRY.collect()}
    return [sample for sample in families[name].samples if not sample.name.endswith("_created")]


def test_outcomes_of_jobs_are_counted(metrics):
    metrics.on_outcome_stored(job(), Outcome("retry"))
    metrics.on_outcome_stored(job(), Outcome("expired"))

    labels = [(sample.labels["outcome"], sample.value) for sample in read_samples("workshed_jobs")]
    assert sorted(labels) == [("expired", 1), ("retry", 1)]


def test_how_long_it_waited_and_ran_is_measured_in_seconds(metrics):
    one = job(started_at=datetime(2026, 1, 1, 0, 1, tzinfo=UTC).timestamp(), duration_s=2.0)

    metrics.on_start(one)
    metrics.on_outcome_stored(one, Outcome("succeeded"))

    sums = {
        s.name: s.value for n in ("wait", "run") for s in read_samples(f"workshed_job_{n}_seconds")
    }
    assert sums["workshed_job_wait_seconds_sum"] == 60
    assert sums["workshed_job_run_seconds_sum"] == 2


def test_names_in_a_message_are_no_labels_unless_this_program_declares_them(metrics):
    """Each name would be a series of its own, forever, so senders could fill the memory."""
    for number in range(100):
        metrics.on_outcome_stored(
            job(actor=f"made_up_{number}", queue=f"queue_{number}"), Outcome("unknown_actor")
        )

    (sample,) = read_samples("workshed_jobs")
    assert sample.labels == {"actor": "other", "queue": "other", "outcome": "unknown_actor"}
    assert sample.value == 100


@pytest.mark.parametrize(
    ("on_conflict", "holder", "state", "how"),
    [
        (None, "m", "published", "published"),
        (None, "m", "stored", "stored"),
        (None, "m", "scheduled", "scheduled"),
        ("reschedule", "another", "stored", "scheduled"),
        (None, "another", "stored", "duplicate"),
        ("raise", "another", "stored", "duplicate"),
    ],
)
def test_each_send_has_a_word_of_the_closed_set(on_conflict, holder, state, how):
    options = {"unique_key": "k", "on_conflict": on_conflict}
    message = dramatiq.Message("default", "greet", (), {}, options)
    outgoing = OutgoingMessage(message, None)
    outgoing.record_key_holder(message.message_id if holder == "m" else holder)
    with pytest.raises(RuntimeError, match="is still being sent"):
        _ = outgoing.final_state

    outgoing.finish(state)

    assert outgoing.final_state == how
    assert how in get_args(SendResult)
    assert isinstance(outgoing.error, DuplicateJobError) == (on_conflict == "raise")


def test_a_send_that_failed_is_counted_as_refused():
    outgoing = OutgoingMessage(job().message, None)

    outgoing.refuse(OSError("away"))

    assert outgoing.final_state == "refused"
    assert "refused" in get_args(SendResult)


OWN = pages.block("docs/metrics.md", "from workshed.metrics import Counter")
NAMES = {
    "in_time",  # of the service
    *("actor", "queue", "outcome", "how", "connection", "state", "by", "source", "problem"),
    "server",
}
"""Labels, each with a closed set of values: declared by this program, or added as sources."""


def test_each_metric_says_what_it_is_in_base_units():
    names = [one.full_name for one in METRICS]

    assert len(names) == len(set(names))
    for one in METRICS:
        assert one.full_name.startswith(f"{one.namespace}_")
        assert one.help.endswith(".")
        assert not one.full_name.endswith(("_milliseconds", "_ms", "_minutes"))
        assert isinstance(one, Counter | Gauge | Histogram)
        assert isinstance(one, Histogram) <= one.full_name.endswith("_seconds")
        assert isinstance(one, Counter) == one.full_name.endswith("_total")
        assert set(one.labels) <= NAMES


def test_all_metrics_can_be_rendered_as_a_page(metrics):
    for one in METRICS:
        one.record((1,), one.labels)

    page = generate_latest(REGISTRY).decode()

    assert [one.full_name for one in METRICS if one.full_name not in page] == []


def test_an_application_declares_its_own_like_this(metrics, monkeypatch):
    monkeypatch.setattr(metric, "METRICS", [])

    exec(OWN, {})  # noqa: S102 -- as printed

    assert 'shop_orders_paid_total{currency="EUR"} 1.0' in generate_latest(REGISTRY).decode()


def test_nothing_is_measured_when_switched_off(metrics):
    metric.set_enabled(on=False)

    metrics.on_outcome_stored(job(), Outcome("succeeded"))

    assert "workshed_jobs_total{" not in generate_latest(REGISTRY).decode()


def test_a_program_measures_once_it_can_expose_what_it_measures(monkeypatch):
    """Importing `prometheus_client` for nothing would take 4 MB of every program that sends."""
    monkeypatch.delitem(sys.modules, "prometheus_client")
    meters.SENDS.add("greet", "default", "confirmed")
    assert "prometheus_client" not in sys.modules

    monkeypatch.undo()
    meters.SENDS.add("greet", "default", "confirmed")

    [sample] = read_samples("workshed_sends")
    assert sample.value == 1


def test_a_metric_that_cannot_be_written_fails_no_job(monkeypatch, caplog):
    """The error would come out of a `send` that succeeded, and the caller would send again."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(metric.import_prometheus().PrometheusStore, "recorder", full)

    meters.SENDS.add("greet", "default", "published")
    meters.SENDS.add("greet", "default", "published")

    assert [record.getMessage() for record in caplog.records] == [
        "metrics are switched off after an error: OSError(28, 'No space left on device')"
    ]


def test_each_metric_has_recorders_of_its_own():
    """Shared ones would mix the numbers of two metrics."""
    assert meters.JOBS._recorders is not meters.SENDS._recorders
