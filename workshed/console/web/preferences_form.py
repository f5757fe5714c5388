"""Save the preferences of a browser."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from workshed.console.web.auth import csrf
from workshed.console.web.auth.authenticators import Authenticators
from workshed.console.web.pages.preferences import PATH
from workshed.console.web.view import preferences, responses


class PreferencesForm:
    """The form of the page Preferences; readers may send it, too."""

    def __init__(self, doors: Authenticators) -> None:
        self._authenticators = doors

    async def submit(self, request: Request) -> Response:
        """Set the cookie; it concerns this browser only, so the audit has no entry of it."""
        user = await self._authenticators.find_user(request)
        if user is None:
            raise HTTPException(401, "You are not logged in.")
        form = await csrf.read_form(request, user.name)
        response = responses.redirect_to(request, PATH)
        chosen = [form.one(name) for name in preferences.CHOICES]
        preferences.set_preferences(request, response, chosen)
        return response
