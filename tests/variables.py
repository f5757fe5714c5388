"""Environment variables of Workshed's settings."""

import os

from workshed.settings import PREFIX


def variable(name):
    """Return the variable of a setting, in whichever case it is written."""
    return PREFIX + name.upper()


def taken_away(prefix):
    """Remove all variables with a prefix from the environment and return them."""
    names = [name for name in os.environ if name.startswith(prefix)]
    return {name: os.environ.pop(name) for name in names}
