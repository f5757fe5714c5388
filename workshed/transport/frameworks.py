"""The broker in the form that extensions of Django and Flask expect."""

from collections.abc import Sequence

from dramatiq.middleware import Middleware

from workshed.errors import SettingsError
from workshed.middleware.built_in import REFUSED_MIDDLEWARE
from workshed.settings import settings
from workshed.transport.build import get_broker
from workshed.transport.postgresql import PostgreSQLBroker
from workshed.transport.rabbitmq import RabbitMQBroker
from workshed.transport.stub import Stub


def framework_broker(
    *, middleware: Sequence[Middleware] = (), url: str | None = None
) -> RabbitMQBroker | PostgreSQLBroker | Stub:
    """Return this process's broker with the application's middleware, for django-dramatiq and such.

    Those build the broker themselves, by calling what their configuration names. dramatiq's own
    middleware that is built in here is left out, because they pass it by default.

    Raises `SettingsError` for a `url` that differs from `WORKSHED_BROKER_URL`: relays and commands
    read only the latter.
    """
    if url is not None and url != settings().broker_url.get_secret_value():
        raise SettingsError(
            "the broker URL of the framework's configuration differs from WORKSHED_BROKER_URL, "
            "which relays and commands use as well: leave it out of the configuration"
        )
    found = get_broker()
    for one in middleware:
        if type(one) not in REFUSED_MIDDLEWARE:
            found.add_middleware(one)
    return found
