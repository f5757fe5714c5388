"""Names of time zones."""

import difflib
from zoneinfo import ZoneInfo, available_timezones


def zone_problem(name: str) -> str | None:
    """Say what is wrong with the name of a time zone, or nothing."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError, TypeError):
        close = difflib.get_close_matches(str(name), available_timezones(), n=1)
        hint = f"; did you mean {close[0]}?" if close else ", as in Europe/Paris"
        return f"no time zone has this name{hint}"
    return None
