"""Sign users up and out."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

import actors
from shop.demo.shop import forms, page
from shop.people import AddressTakenError, InvalidAddressError, InvalidNameError, PersonError
from shop.web.token_auth import AuthenticatedUser
from shop.web.token_cookie import clear_cookie, set_cookie
from workshed import db
from workshed.contrib import notifications


async def sign_up(request: Request) -> Response:
    """Store a user, send their welcome email, and give their browser a token cookie."""
    form = await forms.read_anonymous_form(request)
    given = {name: form.fields.get(name, "") for name in ("name", "email")}
    try:
        user_id = await run_in_threadpool(_sign_up, given["name"], given["email"])
    except (PersonError, InvalidAddressError) as err:
        status = 409 if isinstance(err, AddressTakenError) else 400
        return page.show_sign_up(given, _problems(err), status)
    token = notifications.token(str(user_id))
    answer = RedirectResponse("./", 303)
    set_cookie(
        request,
        answer,
        AuthenticatedUser(token, notifications.read_token(token), is_from_cookie=False),
    )
    return answer


async def sign_out(request: Request) -> Response:
    """Delete the browser's token cookie; copies of the token stay valid."""
    await forms.read_user_form(request)
    answer = RedirectResponse("./", 303)
    clear_cookie(request, answer)
    return answer


def _sign_up(name: str, email: str) -> int:
    with db.transaction() as conn:
        return actors.sign_up(conn, name=name, email=email).id


def _problems(err: PersonError | InvalidAddressError) -> dict[str, str]:
    """Return what is wrong, by form field."""
    match err:
        case InvalidNameError():
            return {"name": f"This name cannot be used: {err.reason}."}
        case InvalidAddressError():
            return {"email": f"This address cannot be used: {err.reason.rstrip('.')}."}
    return {"email": "This address is already in use. Use another one."}
