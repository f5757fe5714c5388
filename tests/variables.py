"""The variables of the settings of Workshed."""

import os

from workshed.settings import PREFIX


def variable(name):
    """The variable of a setting, in whichever case it is written."""
    return PREFIX + name.upper()


def taken_away(prefix):
    """Take all variables with a prefix out of the environment; what they were."""
    names = [name for name in os.environ if name.startswith(prefix)]
    return {name: os.environ.pop(name) for name in names}
