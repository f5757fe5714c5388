"""The ways to log in: with a password or token, through a proxy, or by the host application."""

import hmac
import inspect
from collections.abc import Awaitable, Callable, Collection

from starlette.requests import Request

from workshed.console.web.auth import program_tokens, users
from workshed.console.web.auth.roles import ROLES, Role, Who
from workshed.console.web.auth.sessions import Sessions
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
        self.users = users.configured_users()
        self.sessions = Sessions(self.users)
        self._tokens = program_tokens.parse_tokens(settings().console_tokens.get_secret_value())
        _check_names(self.users, self._tokens)
        secret = settings().console_proxy_secret
        self._proxy_secret = None if secret is None else secret.get_secret_value()
        if not (authorize or self.users or self._tokens or self._proxy_secret):
            raise SettingsError(
                "no user may use the console, so it does not start: set WORKSHED_CONSOLE_USERS "
                "(`workshed console user NAME` creates an entry), or WORKSHED_CONSOLE_PROXY_SECRET "
                "behind a proxy that authenticates users, or mount create_app(authorize=…)"
            )

    @property
    def has_login(self) -> bool:
        """Return whether users can log in with a password."""
        return bool(self.users)

    async def find_user(self, request: Request, *, is_use: bool = True) -> Who | None:
        """Return the user of a request, or `None`: from `authorize`, a proxy, a token, the session.

        `is_use`: the request means that the user is active, which keeps the session alive.
        """
        if self._authorize is not None:
            found = self._authorize(request)
            user = await found if inspect.isawaitable(found) else found
            if user is not None:
                return user
        if SECRET_HEADER in request.headers:
            return self._from_proxy(request)
        program = program_tokens.find_program(request, self._tokens)
        if program is not None or not self.users:
            return program
        return await self.sessions.find_user(request, is_use=is_use)

    def _from_proxy(self, request: Request) -> Who | None:
        said, name = request.headers[SECRET_HEADER], request.headers.get(NAME_HEADER, "").strip()
        if self._proxy_secret is None or not hmac.compare_digest(
            said.encode(), self._proxy_secret.encode()
        ):
            return None
        role: Role | None = next((r for r in ROLES if r == request.headers.get(ROLE_HEADER)), None)
        return Who(name, role) if name and role else None


def _check_names(known: Collection[str], tokens: program_tokens.ProgramTokens) -> None:
    """Raise `SettingsError` if the audit could not tell a program from a user."""
    for program in tokens.values():
        if program.name in known:
            raise SettingsError(
                f"{program.name} is in WORKSHED_CONSOLE_USERS and in WORKSHED_CONSOLE_TOKENS, so "
                "the audit could not say which of them did something; rename one"
            )
