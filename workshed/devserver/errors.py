"""Errors of the private servers.

WorkshedError
└── ServerError           a server does not start, or stopped by itself
    └── NotInstalledError a program or package is missing; says how to install it
"""

from workshed.errors import WorkshedError


class ServerError(WorkshedError):
    """A private server does not start, or stopped by itself."""


class NotInstalledError(ServerError):
    """A program or package is missing; the message says how to install it."""
