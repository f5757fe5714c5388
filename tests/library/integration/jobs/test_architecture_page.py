"""docs/architecture.md and its picture: tables, numbers and layers match the code."""

import re
import tomllib
from xml.etree import ElementTree as ET

from tests.root import ROOT
from workshed.jobs.outbox import relays
from workshed.transport.relay import health, relay
from workshed.transport.worker import heartbeat as worker_beat

PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
PICTURE = (ROOT / "docs" / "architecture.svg").read_text("utf-8")
SVG = "{http://www.w3.org/2000/svg}"


def test_every_table_is_described(conn):
    query = """
        SELECT relname FROM pg_class
         WHERE relnamespace = 'workshed'::regnamespace AND relkind IN ('r', 'p')
           AND NOT relispartition
    """
    tables = {name for (name,) in conn.execute(query)}

    part = PAGE.partition("tables, in the schema")[2].partition("\n\n")[0]
    named = [name for row in part.splitlines()[2:] for name in re.findall(r"`(\w+)`", row)]
    said = [name for name in named if name in tables]
    assert sorted(said) == sorted(tables)


def test_its_numbers_are_those_of_the_code():
    assert f"looks every {relay.POLL_S * 1000:.0f} ms" in PAGE
    assert f"claims up to {relay.WINDOW}," in PAGE
    assert f"publishes them again after {relays.DEAD_AFTER.seconds} s" in PAGE
    assert f"beats every {worker_beat.EVERY_S:.0f} s" in PAGE
    assert health.EVERY_S == worker_beat.EVERY_S


def test_its_layers_are_those_that_import_linter_checks():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contract, library, *_ = project["tool"]["importlinter"]["contracts"]

    assert " → ".join(f"`{name}`" for name in library["layers"]) in " ".join(PAGE.split())
    layers = [layer.split(" : ") for layer in contract["layers"]]
    pages, *_, domain, _ = layers
    said = [", ".join(f"`{name}`" for name in layer) for layer in layers]
    said[-2] = "the rest of `shop`"
    assert " → ".join(said) in " ".join(PAGE.split())
    parts = {f"shop.{one.stem}" for one in (ROOT / "shop").iterdir() if is_module(one)}
    assert sorted(parts) == sorted([*pages, *domain])


def is_module(path):
    """Whether a path is a module or a package."""
    return (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").exists()


def test_the_picture_says_what_it_shows_and_has_its_colours_by_day_and_by_night():
    root = ET.fromstring(PICTURE)  # noqa: S314 -- ours

    title = " ".join(root.find(f"{SVG}title").text.split())
    assert f"![{title}](architecture.svg)" in PAGE
    drawn = [one for one in root.iter() if one.tag not in (f"{SVG}svg", f"{SVG}style")]
    assert not [one for one in drawn if {"fill", "stroke", "style"} & one.attrib.keys()]
    day, night = root.find(f"{SVG}style").text.split("@media (prefers-color-scheme: dark)")
    for name in ("paper", "box", "text", "way", "tip"):
        assert re.search(rf"\b{name} {{", day)
        assert re.search(rf"\b{name} {{", night)
