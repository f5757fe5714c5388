"""The file in which a process keeps its numbers, and what a page makes of several files."""

import math
import os
import subprocess
import sys
import threading

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from workshed.metrics import exposition, samples, value_file
from workshed.metrics.file_store import FileStore
from workshed.metrics.metric import Counter, Gauge, Histogram
from workshed.metrics.samples import Family, Sample
from workshed.metrics.value_file import INITIAL_BYTES, ValueFile


@pytest.fixture
def path(tmp_path):
    """The path of a file that does not exist yet."""
    return tmp_path / "1_2_3.values"


def numbers(path):
    return {entry.key: entry.value for entry in value_file.parse_entries(path.read_bytes())}


@pytest.mark.parametrize("in_memory", [False, True])
def test_numbers_are_written_and_read(path, in_memory):
    file = ValueFile(None if in_memory else path)
    for number in range(40):
        place = file.place("k" * number)
        file.add(place, number)
        file.add(place, 0.5)
    file.set(file.place("ü"), -1.0)

    wanted = {"k" * number: number + 0.5 for number in range(40)} | {"ü": -1.0}
    assert {entry.key: entry.value for entry in file.entries()} == wanted
    if not in_memory:
        assert numbers(path) == wanted
    file.close()


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_file_grows_and_keeps_the_places_of_its_numbers(path, in_memory):
    file = ValueFile(None if in_memory else path)
    first = file.place("first")
    file.set(first, 1.0)
    for number in range(3_000):
        file.set(file.place(f"a rather long key with the number {number}"), number)
    file.add(first, 1.0)

    found = {entry.key: entry.value for entry in file.entries()}
    assert len(found) == 3_001
    assert found["first"] == 2.0
    assert found["a rather long key with the number 2999"] == 2_999
    if not in_memory:
        assert path.stat().st_size > INITIAL_BYTES
        assert path.stat().st_blocks * 512 >= path.stat().st_size
    file.close()


def test_a_file_that_exists_is_continued(path):
    file = ValueFile(path)
    file.add(file.place("a"), 1.0)
    file.close()

    file = ValueFile(path)
    file.add(file.place("a"), 1.0)
    file.add(file.place("b"), 1.0)
    file.close()

    assert numbers(path) == {"a": 2.0, "b": 1.0}


def test_prometheus_client_reads_the_same_numbers(path):
    """Its format is ours, so its files and ours are read by one function."""
    file = ValueFile(path)
    for key in ("", "a", "abcd", "ü" * 33):
        file.set(file.place(key), len(key))

    theirs = MmapedDict.read_all_values_from_file(str(path))
    assert {key: value for key, value, *_ in theirs} == numbers(path)
    file.close()


def test_we_read_what_prometheus_client_has_written(tmp_path):
    theirs = MmapedDict(str(tmp_path / "counter_1.db"))
    for number in range(20):
        theirs.write_value("k" * number, number, 5.0)
    theirs.close()

    assert numbers(tmp_path / "counter_1.db") == {"k" * number: number for number in range(20)}


@pytest.mark.parametrize("size", [0, 3, 8, INITIAL_BYTES])
def test_a_file_that_has_only_just_been_made_has_no_numbers(path, size):
    path.write_bytes(b"\0" * size)

    assert samples.read_file(path) == []


def test_a_reader_sees_no_half_of_an_entry(path):
    """The end of the used part is written after the entry."""
    whole = value_file.encode_entries(iter([("a", 1.0), ("b", 2.0)]))
    short = value_file.encode_entries(iter([("a", 1.0)]))

    for cut in range(len(short), len(whole)):
        entries = value_file.parse_entries(short[:8] + whole[8:cut])
        assert [entry.key for entry in entries] == ["a"]


WRITES = """
import sys
from pathlib import Path
from workshed.metrics.value_file import ValueFile

file = ValueFile(Path(sys.argv[1]))
place = file.place("n")
file.set(place, 1e300)
print("ready", flush=True)
while True:
    file.set(place, 2e300)
    file.set(place, 1e300)
"""


def test_a_reader_sees_the_old_number_or_the_new_one(path):
    """`struct.pack_into` writes zeros first: a scrape would see counters fall to 0 and rise."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITES, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout.readline() == "ready\n"
        seen = {numbers(path)["n"] for _ in range(3_000)}
        writer.kill()

    assert seen <= {1e300, 2e300}


def test_a_full_disk_is_an_error_and_no_signal(path, monkeypatch):
    file = ValueFile(path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)

    file.place("short")
    with pytest.raises(OSError, match="No space left"):
        file.place("k" * INITIAL_BYTES)
    file.set(file.place("short"), 1.0)
    assert numbers(path) == {"short": 1.0}
    file.close()


# A store


COUNTER = Counter("tested", "Tested.", ("actor",), namespace="test")
GAUGE = Gauge("level", "Level.", mode="livemax", namespace="test")
HISTOGRAM = Histogram("taken_seconds", "Taken.", ("actor",), buckets=(0.1, 1), namespace="test")


def test_threads_lose_no_count():
    store = FileStore()

    def count():
        record = store.recorder(COUNTER, ("a",))
        for _ in range(20_000):
            record((1.0,))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (sample,) = store.read()
    assert (sample.name, sample.labels, sample.value) == (
        "test_tested_total",
        (("actor", "a"),),
        80_000,
    )


def test_a_gauge_has_its_last_number_and_a_histogram_counts_each():
    store = FileStore()
    store.recorder(GAUGE, ())((3.0, 1.0))
    store.recorder(HISTOGRAM, ("a",))((0.05, 0.1, 0.5, 5.0))

    text = exposition.render(samples.combine(store.read()))

    assert text == (
        "# HELP test_level Level.\n"
        "# TYPE test_level gauge\n"
        "test_level 1.0\n"
        "# HELP test_taken_seconds Taken.\n"
        "# TYPE test_taken_seconds histogram\n"
        'test_taken_seconds_bucket{actor="a",le="0.1"} 2.0\n'
        'test_taken_seconds_bucket{actor="a",le="1.0"} 3.0\n'
        'test_taken_seconds_bucket{actor="a",le="+Inf"} 4.0\n'
        'test_taken_seconds_count{actor="a"} 4.0\n'
        'test_taken_seconds_sum{actor="a"} 5.65\n'
    )


# Several processes


def gauge(mode, value, at=0.0, pid="1"):
    return Sample("gauge", mode, "level", "level", (), "Level.", value, at, pid)


def list_numbers(*found):
    return [
        (dict(labels).get("pid"), value)
        for family in samples.combine(found)
        for _, labels, value in family.numbers()
    ]


@pytest.mark.parametrize(
    ("mode", "combined"),
    [
        ("sum", 6.0),
        ("livesum", 6.0),
        ("min", 1.0),
        ("livemin", 1.0),
        ("max", 3.0),
        ("livemax", 3.0),
        ("mostrecent", 2.0),
        ("livemostrecent", 2.0),
    ],
)
def test_gauges_are_combined_by_their_mode(mode, combined):
    found = [gauge(mode, 3.0, at=1), gauge(mode, 2.0, at=3), gauge(mode, 1.0, at=2)]

    assert list_numbers(*found) == [(None, combined)]


@pytest.mark.parametrize("mode", ["all", "liveall"])
def test_a_gauge_of_each_process_has_its_pid(mode):
    assert list_numbers(gauge(mode, 3.0, pid="7"), gauge(mode, 1.0, pid="8")) == [
        ("7", 3.0),
        ("8", 1.0),
    ]


@pytest.mark.parametrize("mode", ["livemin", "livemax"])
def test_what_a_process_does_not_know_hides_no_number(mode):
    assert list_numbers(gauge(mode, math.nan), gauge(mode, 2.0), gauge(mode, math.nan)) == [
        (None, 2.0)
    ]


def test_the_numbers_of_two_releases_are_added_though_their_help_differs():
    """During a rolling restart, one would hide the other."""
    old = Sample("counter", "", "done_total", "done_total", (), "Old.", 1.0)

    (family,) = samples.combine([old, old._replace(help="New.")])

    assert list(family.numbers()) == [("done_total", (), 2.0)]


def test_a_metric_that_has_become_another_kind_breaks_no_page():
    old = Sample("counter", "", "done", "done", (), "Old.", 1.0)

    (family,) = samples.combine([old, gauge("livesum", 2.0)._replace(family="done", name="done")])

    assert isinstance(family, Family)
    assert list(family.numbers()) == [("done", (), 1.0)]


NASTY = 'a "b" \\ \n{}, =é\u2028'


def test_a_page_can_be_read_whatever_labels_and_numbers_it_has():
    found = [
        Sample("counter", "", "n_total", "n_total", (("l", NASTY), ("m", "")), NASTY, value)
        for value in (1e-9,)
    ]
    found += [
        Sample("gauge", "livesum", f"g{index}", f"g{index}", (), "", value)
        for index, value in enumerate((math.inf, -math.inf, math.nan, 1e300, 12, -0.5))
    ]

    text = exposition.render(samples.combine(found))

    families = {f.name: f for f in text_string_to_metric_families(text)}
    (sample,) = families["n"].samples
    assert (sample.labels, sample.value) == ({"l": NASTY, "m": ""}, 1e-9)
    values = [families[f"g{index}"].samples[0].value for index in range(6)]
    assert values[:2] == [math.inf, -math.inf]
    assert math.isnan(values[2])
    assert values[3:] == [1e300, 12.0, -0.5]


def test_the_page_shows_what_prometheus_client_would_show(tmp_path):
    """For the same files of an application, in every kind and mode."""
    code = (
        "from prometheus_client import Counter, Gauge, Histogram, Summary\n"
        "Counter('c', 'C.', ['x']).labels('1').inc(3)\n"
        "for m in ('all','liveall','min','max','sum','livesum','mostrecent'):\n"
        "    Gauge(f'g_{m}', 'G.', multiprocess_mode=m).set(7)\n"
        "Histogram('h', 'H.', ['x'], buckets=(1, 2)).labels('1').observe(1.5)\n"
        "Summary('s', 'S.').observe(2)\n"
    )
    for _ in range(3):
        env = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PATH": os.environ["PATH"]}
        subprocess.run([sys.executable, "-c", code], env=env, check=True)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(tmp_path))
    wanted = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in registry.collect()
        for sample in family.samples
    }

    found = [s for file in sorted(tmp_path.iterdir()) for s in samples.read_file(file)]
    values = {
        (name, *labels): value
        for family in samples.combine(found)
        for name, labels, value in family.numbers()
    }

    assert values == wanted
