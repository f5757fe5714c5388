"""The ways to log in: with a password, through a trusted proxy, or by the host application."""

import hmac
import inspect
from collections.abc import Awaitable, Callable

from starlette.requests import Request

from workshed.console.web.auth import sessions, users
from workshed.console.web.auth.roles import ROLES, Role, Who
from workshed.errors import SettingsError
from workshed.settings import settings

SECRET_HEADER, NAME_HEADER, ROLE_HEADER = "x-workshed-secret", "x-workshed-user", "x-workshed-role"
"""Headers of a proxy that has authenticated the user."""
Authorize = Callable[[Request], Who | Awaitable[Who | None] | None]


class Authenticators:
    """Finds the user of a request; it refuses to work without any way to log in."""

    def __init__(self, authorize: Authorize | None) -> None:
        """Read the settings; raises `SettingsError` if no user could log in."""
        self._authorize = authorize
        self.users = users.parse_users(settings().console_users.get_secret_value())
        secret = settings().console_proxy_secret
        self._proxy_secret = None if secret is None else secret.get_secret_value()
        if authorize is None and not self.users and self._proxy_secret is None:
            raise SettingsError(
                "no user may use the console, so it does not start: set WORKSHED_CONSOLE_USERS "
                "(`workshed console user NAME` creates an entry), or WORKSHED_CONSOLE_PROXY_SECRET "
                "behind a proxy that authenticates users, or mount create_app(authorize=…)"
            )

    @property
    def has_login(self) -> bool:
        """Tell whether users can log in with a password."""
        return bool(self.users)

    async def find_user(self, request: Request) -> Who | None:
        """Return the user of a request, or `None`: from `authorize`, a proxy, or the session."""
        if self._authorize is not None:
            found = self._authorize(request)
            who = await found if inspect.isawaitable(found) else found
            if who is not None:
                return who
        if SECRET_HEADER in request.headers:
            return self._from_proxy(request)
        return sessions.session_user(request, self.users) if self.users else None

    def _from_proxy(self, request: Request) -> Who | None:
        said, name = request.headers[SECRET_HEADER], request.headers.get(NAME_HEADER, "").strip()
        if self._proxy_secret is None or not hmac.compare_digest(
            said.encode(), self._proxy_secret.encode()
        ):
            return None
        role: Role | None = next((r for r in ROLES if r == request.headers.get(ROLE_HEADER)), None)
        return Who(name, role) if name and role else None
