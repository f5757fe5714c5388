"""Connections that do not wait for ever."""


def impatient(url: str, blocked_s: float) -> str:
    """Give a URL the time after which a connection that RabbitMQ blocks is closed."""
    return f"{url}{'&' if '?' in url else '?'}blocked_connection_timeout={blocked_s}"
