"""When a periodic job runs: a pure function of the calendar, the same on every host."""

import re
from collections.abc import Iterator
from dataclasses import field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

from workshed.settings import settings
from workshed.value_class import value_class
from workshed.zones import CLOCK_TIME, instants_of, load_zone, utc_offset, zone_problem

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

__all__ = ["PeriodicSchedule", "cron", "daily", "every"]

ScheduleKind = Literal["daily", "cron", "every"]
MisfirePolicy = Literal["skip", "once", "all"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)

SHORTEST_EVERY = timedelta(seconds=10)
"""A relay looks for missed runs every 5 s, so it never finds two of a job at once."""
LONGEST_EVERY = timedelta(days=366)
SHORTEST_WINDOW = timedelta(seconds=10)
LONGEST_WINDOW = timedelta(days=30)
DEFAULT_WINDOWS: dict[MisfirePolicy, timedelta] = {
    "skip": timedelta(minutes=1),
    "once": timedelta(days=7),
    "all": timedelta(days=7),
}
"""How late a run may still be created, by default."""

CRON_FIELDS = {
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


@value_class
class PeriodicSchedule:
    """When a job runs, and what happens to runs that were not created in time.

    Made by `daily`, `cron` or `every`. Its fields are stored in a row of `workshed.periodic_jobs`,
    from which `read` makes an equal spec.
    """

    kind: ScheduleKind
    text: str
    """`09:00`, five fields of cron, or whole seconds."""
    misfire: MisfirePolicy = "once"
    misfire_window: timedelta = DEFAULT_WINDOWS["once"]
    """How late a run may still be created."""
    tz: str | None = None
    """`None`: the zone in the settings, read when it is first needed."""
    _expression: str = field(init=False, repr=False, compare=False, default="")

    def __post_init__(self) -> None:
        """Refuse invalid values; the error names the field and the reason."""
        said = f"{self.kind}({self.text!r})"
        if self.misfire not in get_args(MisfirePolicy):
            raise ValueError(
                f"{said}: misfire={self.misfire!r}: one of {', '.join(get_args(MisfirePolicy))}"
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
        """Format it for people and `periodiq`: `cron */20 3 * * * Europe/Paris`."""
        return f"{self.kind} {self.text}" + ("" if self.tz is None else f" {self.tz}")

    @property
    def zone(self) -> str:
        """Name of its time zone; `every` does not depend on one."""
        if self.kind == "every":
            return "UTC"
        return self.tz or settings().time_zone

    @property
    def description(self) -> str:
        """Describe it in words, without the zone."""
        match self.kind:
            case "daily":
                return f"daily at {self.text}"
            case "every":
                return f"every {_format_span(int(self.text))}"
        said: str = _cronsim().CronSim(self._expression, EPOCH).explain()
        return said[0].lower() + said[1:]

    def monitor(self) -> dict[str, object] | None:
        """Return the schedule of a Sentry cron monitor, or `None` if Sentry cannot express it.

        Sentry supports plain cron fields and spans of whole minutes.
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
        return next(self._times_after(instant))

    def times_between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield its times after `after`, up to and including `until`, in UTC."""
        for found in self._times_after(after):
            if found > until:
                return
            yield found

    def _times_after(self, instant: datetime) -> Iterator[datetime]:
        """Yield all times after an instant, each once."""
        if self.kind == "every":
            step = timedelta(seconds=int(self.text))
            found = EPOCH + ((instant - EPOCH) // step + 1) * step
            while True:
                yield found
                found += step
        zone = load_zone(self.zone)
        last = instant
        while True:
            last = _next_match(self._expression, zone, last)
            yield last


def daily(
    time: str,
    *,
    tz: str | None = None,
    misfire: MisfirePolicy = "once",
    misfire_window: timedelta | None = None,
) -> PeriodicSchedule:
    """Run once a day: `daily("09:00", tz="Europe/Paris")`.

    When the clocks are put forward, a time that they skip runs at the first moment after the gap.
    When they are put back, a time that they show twice runs at the first of the two.

    `tz` is `WORKSHED_TIME_ZONE` by default. `misfire` says what happens to times at which nothing
    could run: `"once"` runs the last of them and `"all"` runs each, up to 7 days late; `"skip"`
    drops those that are more than a minute late. `misfire_window` changes how late a run may be.
    """
    if not CLOCK_TIME.fullmatch(str(time)):
        raise ValueError(f"daily({time!r}): time: HH:MM, from 00:00 to 23:59")
    return PeriodicSchedule("daily", time, misfire, _choose_window(misfire, misfire_window), tz)


def cron(
    expression: str,
    *,
    tz: str | None = None,
    misfire: MisfirePolicy = "once",
    misfire_window: timedelta | None = None,
) -> PeriodicSchedule:
    """Run by the five fields of cron: `cron("*/20 3 * * MON-FRI")`; the rest is as in `daily`.

    `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly` and `@annually` stand for
    their fields, as in crontabs.

    Days match as in Debian's cron: both day fields must match if one begins with `*`, otherwise
    either is enough. If neither minute nor hour begins with `*`, clock changes work as in `daily`.
    Otherwise the job runs whenever the clock shows a matching time, which may be twice or never.
    """
    text = " ".join(str(expression).upper().split())
    return PeriodicSchedule(
        "cron", NICKNAMES.get(text, text), misfire, _choose_window(misfire, misfire_window), tz
    )


def every(
    span: timedelta, *, misfire: MisfirePolicy = "once", misfire_window: timedelta | None = None
) -> PeriodicSchedule:
    """Run at equal intervals: `every(timedelta(minutes=10))`; the rest is as in `daily`.

    Intervals count from 1970-01-01 00:00 UTC, a Thursday, not from a start, so that all clocks
    agree.
    """
    if not _is_span(span, SHORTEST_EVERY, LONGEST_EVERY):
        raise ValueError(f"every({span!r}): span: a timedelta of 10 s to 366 days")
    if span % SECOND:
        raise ValueError(f"every({span!r}): span: whole seconds")
    return PeriodicSchedule(
        "every", str(span // SECOND), misfire, _choose_window(misfire, misfire_window)
    )


def parse_schedule(
    kind: str, text: str, zone: str, misfire: str, window: timedelta
) -> PeriodicSchedule:
    """Make a spec from a row's columns.

    Raises `ValueError` for a spec that this release does not understand.
    """
    known = {"daily": CLOCK_TIME, "cron": re.compile(".+"), "every": re.compile(r"[1-9]\d*")}
    if kind not in known or not known[kind].fullmatch(text):
        raise ValueError(f"{kind} {text!r}: this release knows no such spec")
    return PeriodicSchedule(kind, text, misfire, window, zone)  # type: ignore[arg-type]  # checked by itself


def _choose_window(misfire: MisfirePolicy, misfire_window: timedelta | None) -> timedelta:
    return (
        DEFAULT_WINDOWS.get(misfire, DEFAULT_WINDOWS["once"])
        if misfire_window is None
        else misfire_window
    )


def _is_span(value: object, shortest: timedelta, longest: timedelta) -> bool:
    return isinstance(value, timedelta) and shortest <= value <= longest


def _check_fields(text: str) -> None:
    parts = text.split()
    if text.startswith("@"):
        raise ValueError(f"cron({text.lower()!r}): one of {', '.join(NICKNAMES).lower()}")
    if len(parts) != len(CRON_FIELDS):
        raise ValueError(
            f"cron({text!r}): {len(parts)} fields; five are needed: {', '.join(CRON_FIELDS)}"
        )
    cronsim = _cronsim()
    try:
        next(cronsim.CronSim(text, datetime(2000, 1, 1)))  # noqa: DTZ001 -- of any zone
    except cronsim.CronSimError as err:
        name = str(err).removeprefix("Bad ")
        if name == "day-of-month" and _is_valid([*parts[:3], "*", *parts[4:]]):
            raise ValueError(f"cron({text!r}): day-of-month: no such day ever comes") from None
        value = dict(zip(CRON_FIELDS, parts, strict=True)).get(name, text)
        raise ValueError(
            f"cron({text!r}): {name} {value!r}: {CRON_FIELDS.get(name, err)}"
        ) from None
    except StopIteration:
        raise ValueError(f"cron({text!r}): day-of-month: no such day ever comes") from None


def _is_valid(parts: list[str]) -> bool:
    cronsim = _cronsim()
    try:
        cronsim.CronSim(" ".join(parts), datetime(2000, 1, 1))  # noqa: DTZ001 -- of any zone
    except cronsim.CronSimError:
        return False
    return True


def _cronsim() -> Any:
    import cronsim  # noqa: PLC0415 -- takes 5 ms, and most programs that send need none of it

    return cronsim


def _next_match(expression: str, zone: "ZoneInfo", instant: datetime) -> datetime:
    """Return the first instant after another at which a zone's clocks match an expression.

    cronsim runs here on a clock that never changes, and each of its times is looked up in the zone.
    With a zone of its own, cronsim returns past times in the repeated hour.
    """
    named = not any(part.startswith("*") for part in expression.split()[:2])
    local = instant.astimezone(zone)
    wall, again = local.replace(tzinfo=None), timedelta() if named else _upcoming_setback(local)
    best: datetime | None = None
    for shown in _cronsim().CronSim(expression, wall - again):
        for at in instants_of(shown, zone, named=named):
            if at > instant and (best is None or at < best):
                best = at
        if best is not None and shown > wall:  # later clock times are first shown later
            return best
    raise AssertionError("a spec has times: that was checked when it was made")


def _upcoming_setback(wall: datetime) -> timedelta:
    """Return how far the clocks will be put back if they will show this time again; else zero."""
    if wall.fold:
        return timedelta()
    return max(utc_offset(wall) - utc_offset(wall.replace(fold=1)), timedelta())


def _format_span(seconds: int) -> str:
    """Format seconds in words, such as `2 hours 5 minutes`."""
    parts = []
    for name, size in UNITS:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {name}" + "s" * (count > 1))
    return " ".join(parts).removeprefix("1 ") if len(parts) == 1 else " ".join(parts)
