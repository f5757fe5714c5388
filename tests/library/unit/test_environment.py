"""Classes of settings: what each type accepts, and what it says of the rest."""

import pickle
from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest

from workshed.environment import (
    EnvironmentSettings,
    InvalidSettingsError,
    Secret,
    at_least,
    at_most,
    more_than,
)


class Zoo(EnvironmentSettings):
    """One setting of each type."""

    prefix: ClassVar[str] = "ZOO_"

    name: str = "Zoo"
    key: Secret = Secret("")
    is_open: bool = True
    cages: Annotated[int, at_least(1), at_most(1_000)] = 7
    share: Annotated[float, more_than(0)] | None = None
    feeding: Annotated[timedelta, at_least(timedelta(minutes=1))] = timedelta(hours=8)
    folder: Path = Path("var")
    kind: Literal["city", "farm"] = "city"


@pytest.mark.parametrize(
    ("name", "given", "found"),
    [
        ("name", "Bronx", "Bronx"),
        ("key", "k", Secret("k")),
        *[("is_open", word, False) for word in ("false", "False", "0", "no", "n", "off", "f", 0)],
        *[("is_open", word, True) for word in ("true", "TRUE", "1", "yes", "y", "on", "t", 1)],
        *[("cages", word, 8) for word in ("8", " 8 ", "8.0", 8)],
        ("share", "0.5", 0.5),
        ("share", 1, 1.0),
        ("share", None, None),
        *[("feeding", word, timedelta(hours=1.5)) for word in ("1h30m", "90min", "5400", 5400)],
        ("feeding", timedelta(minutes=1), timedelta(minutes=1)),
        ("folder", "a/b", Path("a/b")),
        ("folder", Path("c"), Path("c")),
        ("kind", "farm", "farm"),
    ],
)
def test_each_type_reads_what_stands_for_a_value(name, given, found):
    assert getattr(Zoo(**{name: given}), name) == found


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("name", 7, "must be text"),
        ("key", 7, "must be text"),
        ("is_open", "maybe", "must be true or false"),
        ("cages", "many", "must be a whole number"),
        ("cages", "8.5", "must be a whole number"),
        ("cages", True, "must be a whole number"),
        ("cages", "0", "must be at least 1"),
        ("cages", "1001", "must be at most 1,000"),
        ("share", "half", "must be a number"),
        ("share", "nan", "must be more than 0"),
        ("feeding", "soon", "must be a duration such as 90d, 15s or 250ms"),
        ("feeding", "1e400", "must be a duration such as 90d, 15s or 250ms"),
        ("feeding", "59s", "must be at least 1m"),
        ("feeding", True, "must be a duration such as 90d, 15s or 250ms"),
        ("kind", "sea", "must be city or farm"),
    ],
)
def test_anything_else_is_refused_without_its_value(name, given, said):
    with pytest.raises(InvalidSettingsError) as error:
        Zoo(**{name: given})

    assert error.value.problems == [(name, said)]


def test_values_come_from_the_environment_if_they_are_not_given(monkeypatch):
    monkeypatch.setenv("ZOO_CAGES", "8")
    monkeypatch.setenv("zoo_name", "Bronx")
    monkeypatch.setenv("ZOO_KIND", "")  # as in a template that was not filled in

    found = Zoo(cages=9)

    assert (found.cages, found.name, found.kind) == (9, "Bronx", "city")
    assert found.given == {"cages", "name"}


def test_a_copy_has_other_values_and_knows_which_were_given():
    first = Zoo(cages=8)

    other = first.replace(name="Bronx")

    assert (first.name, other.name, other.cages) == ("Zoo", "Bronx", 8)
    assert other.given == {"cages", "name"}


def test_nothing_can_be_changed_or_deleted():
    found = Zoo()

    with pytest.raises(AttributeError, match="frozen"):
        found.cages = 8
    with pytest.raises(AttributeError, match="frozen"):
        del found.cages
    assert found.cages == 7


def test_an_unknown_name_is_refused():
    with pytest.raises(TypeError, match="there is no setting 'birds'"):
        Zoo(birds=1)


def test_a_secret_shows_nowhere():
    found = Zoo(key="s3cret")

    assert "s3cret" not in f"{found} {found.key} {found.key!r} {[found.key]}"
    assert found.key.get_secret_value() == "s3cret"
    assert found.key == Secret("s3cret") != Secret("")
    assert len({found.key, Secret("s3cret")}) == 1
    assert not Secret("")


def test_an_error_survives_the_way_to_another_process():
    error = pickle.loads(pickle.dumps(InvalidSettingsError([("cages", "must be text")])))  # noqa: S301

    assert str(error) == "cages: must be text"
    assert error.problems == [("cages", "must be text")]
