"""The load of the campaign under an application's middleware."""

from unreliable import Unreliable

from workshed import broker

broker.add_middleware(Unreliable())

from load import *  # noqa: E402, F403 -- middleware comes before the first actor
