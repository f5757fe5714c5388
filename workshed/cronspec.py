"""When a periodic job runs: a pure function of the calendar, the same on every host."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from workshed.settings import settings
from workshed.zones import TIME, instants_of, utc_offset, zone_problem

__all__ = ["Spec", "cron", "daily", "every"]

Kind = Literal["daily", "cron", "every"]
Misfire = Literal["skip", "once", "all"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)

SHORTEST_EVERY = timedelta(seconds=10)
"""A relay looks for missed runs every 5 s, so it never finds two of a job at once."""
LONGEST_EVERY = timedelta(days=366)
SHORTEST_WINDOW = timedelta(seconds=10)
LONGEST_WINDOW = timedelta(days=30)
WINDOWS: dict[Misfire, timedelta] = {
    "skip": timedelta(minutes=1),
    "once": timedelta(days=7),
    "all": timedelta(days=7),
}
"""How late a run may still be made where its spec does not say."""

FIELDS = {
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31, L (the last) or LW (the last weekday)",
    "month": "1 to 12, or JAN to DEC",
    "day-of-week": "0 to 7 (both Sunday), or SUN to SAT; 5L is the last Friday, 1#2 the 2nd Monday",
}
NICKNAMES = {
    "@YEARLY": "0 0 1 1 *",
    "@ANNUALLY": "0 0 1 1 *",
    "@MONTHLY": "0 0 1 * *",
    "@WEEKLY": "0 0 * * 0",
    "@DAILY": "0 0 * * *",
    "@MIDNIGHT": "0 0 * * *",
    "@HOURLY": "0 * * * *",
}
UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


@dataclass(frozen=True, slots=True)
class Spec:
    """When a job runs, and what becomes of runs nobody made in time.

    Made by `daily`, `cron` or `every`. Its fields are what a row of `workshed.periodic_jobs` holds,
    from which `read` makes an equal one.
    """

    kind: Kind
    text: str
    """`09:00`, five fields of cron, or whole seconds."""
    misfire: Misfire = "once"
    misfire_window: timedelta = WINDOWS["once"]
    """How late a run may still be made."""
    tz: str | None = None
    """`None`: that of the settings, read when it is first needed."""
    _expression: str = field(init=False, repr=False, compare=False, default="")

    def __post_init__(self) -> None:
        """Refuse what could not be meant, with the field and the reason."""
        said = f"{self.kind}({self.text!r})"
        if self.misfire not in get_args(Misfire):
            raise ValueError(
                f"{said}: misfire={self.misfire!r}: one of {', '.join(get_args(Misfire))}"
            )
        if not _is_span(self.misfire_window, SHORTEST_WINDOW, LONGEST_WINDOW):
            raise ValueError(
                f"{said}: misfire_window={self.misfire_window!r}: a timedelta of 10 s to 30 days"
            )
        if self.tz is not None and (problem := zone_problem(self.tz)):
            raise ValueError(f"{said}: tz={self.tz!r}: {problem}")
        if self.kind == "daily":
            hour, _, minute = self.text.partition(":")
            object.__setattr__(self, "_expression", f"{int(minute)} {int(hour)} * * *")
        elif self.kind == "cron":
            _check_fields(self.text)
            object.__setattr__(self, "_expression", self.text)

    def __str__(self) -> str:
        """Write it as `periodiq` and people read it: `cron */20 3 * * * Europe/Paris`."""
        return f"{self.kind} {self.text}" + ("" if self.tz is None else f" {self.tz}")

    @property
    def zone(self) -> str:
        """Name of the time zone it is meant in; `every` is the same in all of them."""
        if self.kind == "every":
            return "UTC"
        return self.tz or settings().time_zone

    @property
    def description(self) -> str:
        """Say it as people do, without the zone."""
        match self.kind:
            case "daily":
                return f"daily at {self.text}"
            case "every":
                return f"every {_span(int(self.text))}"
        said: str = CronSim(self._expression, EPOCH).explain()
        return said[0].lower() + said[1:]

    def monitor(self) -> dict[str, object] | None:
        """Return the schedule as a cron monitor of Sentry has it; `None` for what those cannot say.

        They know fields of plain cron, and spans of whole minutes.
        """
        if self.kind == "every":
            seconds = int(self.text)
            fits = ((name, size) for name, size in UNITS if size > 1 and seconds % size == 0)
            name, size = next(fits, ("", 0))
            if not size:
                return None
            return {"schedule": {"type": "interval", "value": seconds // size, "unit": name}}
        if re.search(r"[#LW]", re.sub("[A-Z]{3}", "", self._expression)):
            return None
        return {"schedule": {"type": "crontab", "value": self._expression}, "timezone": self.zone}

    def next_after(self, instant: datetime) -> datetime:
        """Return the first time after an instant, in UTC."""
        return next(self._after(instant))

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield its times after one instant and up to another, that one included, in UTC."""
        for found in self._after(after):
            if found > until:
                return
            yield found

    def _after(self, instant: datetime) -> Iterator[datetime]:
        """Yield all that come after an instant, each once."""
        if self.kind == "every":
            step = timedelta(seconds=int(self.text))
            found = EPOCH + ((instant - EPOCH) // step + 1) * step
            while True:
                yield found
                found += step
        zone = _zone(self.zone)
        last = instant
        while True:
            last = _next(self._expression, zone, last)
            yield last


def daily(
    time: str,
    *,
    tz: str | None = None,
    misfire: Misfire = "once",
    misfire_window: timedelta | None = None,
) -> Spec:
    """Run once a day: `daily("09:00", tz="Europe/Paris")`.

    On the day on which the clocks are put forward, a time they pass over is the first moment after;
    on the day on which they are put back, a time they show twice is the first of the two.

    `tz`: `WORKSHED_TIME_ZONE` if not given. `misfire` says what becomes of times at which nothing
    could run, and `misfire_window` how late it may still run: `"once"`, the last of them runs, up
    to 7 days late; `"all"`, each of them; `"skip"`, none that is more than a minute late.
    """
    if not TIME.fullmatch(str(time)):
        raise ValueError(f"daily({time!r}): time: HH:MM, from 00:00 to 23:59")
    return Spec("daily", time, misfire, _window(misfire, misfire_window), tz)


def cron(
    expression: str,
    *,
    tz: str | None = None,
    misfire: Misfire = "once",
    misfire_window: timedelta | None = None,
) -> Spec:
    """Run by the five fields of cron: `cron("*/20 3 * * MON-FRI")`; the rest is as in `daily`.

    `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly` and `@annually` stand for
    their fields, as in crontabs.

    Days are chosen as Debian's cron does: by both day fields where one begins with `*`, else by
    either. Where minute and hour are both named, a change of the clocks is as in `daily`; where one
    of them begins with `*` it runs at what the clock shows, also when it shows that twice or never.
    """
    text = " ".join(str(expression).upper().split())
    return Spec("cron", NICKNAMES.get(text, text), misfire, _window(misfire, misfire_window), tz)


def every(
    span: timedelta, *, misfire: Misfire = "once", misfire_window: timedelta | None = None
) -> Spec:
    """Run at equal distances: `every(timedelta(minutes=10))`; the rest is as in `daily`.

    Counted from 1970-01-01 00:00 UTC, a Thursday, and not from a start: so all clocks agree.
    """
    if not _is_span(span, SHORTEST_EVERY, LONGEST_EVERY):
        raise ValueError(f"every({span!r}): span: a timedelta of 10 s to 366 days")
    if span % SECOND:
        raise ValueError(f"every({span!r}): span: whole seconds")
    return Spec("every", str(span // SECOND), misfire, _window(misfire, misfire_window))


def read(kind: str, text: str, zone: str, misfire: str, window: timedelta) -> Spec:
    """Make a spec of what a row holds.

    Raises `ValueError` for what this release does not understand.
    """
    known = {"daily": TIME, "cron": re.compile(".+"), "every": re.compile(r"[1-9]\d*")}
    if kind not in known or not known[kind].fullmatch(text):
        raise ValueError(f"{kind} {text!r}: this release knows no such spec")
    return Spec(kind, text, misfire, window, zone)  # type: ignore[arg-type]  # checked by itself


def _window(misfire: Misfire, misfire_window: timedelta | None) -> timedelta:
    return WINDOWS.get(misfire, WINDOWS["once"]) if misfire_window is None else misfire_window


def _is_span(value: object, shortest: timedelta, longest: timedelta) -> bool:
    return isinstance(value, timedelta) and shortest <= value <= longest


def _check_fields(text: str) -> None:
    parts = text.split()
    if text.startswith("@"):
        raise ValueError(f"cron({text.lower()!r}): one of {', '.join(NICKNAMES).lower()}")
    if len(parts) != len(FIELDS):
        raise ValueError(
            f"cron({text!r}): {len(parts)} fields; five are needed: {', '.join(FIELDS)}"
        )
    try:
        next(CronSim(text, datetime(2000, 1, 1)))  # noqa: DTZ001 -- of any zone
    except CronSimError as err:
        name = str(err).removeprefix("Bad ")
        if name == "day-of-month" and _is_good([*parts[:3], "*", *parts[4:]]):
            raise ValueError(f"cron({text!r}): day-of-month: no such day ever comes") from None
        value = dict(zip(FIELDS, parts, strict=True)).get(name, text)
        raise ValueError(f"cron({text!r}): {name} {value!r}: {FIELDS.get(name, err)}") from None
    except StopIteration:
        raise ValueError(f"cron({text!r}): day-of-month: no such day ever comes") from None


def _is_good(parts: list[str]) -> bool:
    try:
        CronSim(" ".join(parts), datetime(2000, 1, 1))  # noqa: DTZ001 -- of any zone
    except CronSimError:
        return False
    return True


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _next(expression: str, zone: ZoneInfo, instant: datetime) -> datetime:
    """Return the first instant after another that the clocks of a zone make one of an expression.

    cronsim counts on a clock that is never changed, and what that shows is looked up in the zone.
    Its own way with zones gives times that are past, in the hour that comes twice.
    """
    named = not any(part.startswith("*") for part in expression.split()[:2])
    local = instant.astimezone(zone)
    wall, again = local.replace(tzinfo=None), timedelta() if named else _repeated(local)
    best: datetime | None = None
    for shown in CronSim(expression, wall - again):
        for at in instants_of(shown, zone, named=named):
            if at > instant and (best is None or at < best):
                best = at
        if best is not None and shown > wall:  # what is shown later is shown first later
            return best
    raise AssertionError("its days come: that was checked when it was made")


def _repeated(wall: datetime) -> timedelta:
    """Return how far the clocks will be put back, where they will soon show this time again."""
    if wall.fold:
        return timedelta()
    return max(utc_offset(wall) - utc_offset(wall.replace(fold=1)), timedelta())


def _span(seconds: int) -> str:
    """Say a number of seconds in the units it is made of."""
    parts = []
    for name, size in UNITS:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {name}" + "s" * (count > 1))
    return " ".join(parts).removeprefix("1 ") if len(parts) == 1 else " ".join(parts)
