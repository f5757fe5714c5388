"""Import a file of people."""

import io

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from shop import import_actions
from shop.demo.shop import forms, page
from shop.demo.shop.forms import FormFile
from shop.imports import AlreadyImportedError
from workshed.contrib.notifications import TokenError
from workshed.jobs import RecordMissing


async def submit_import(request: Request) -> Response:
    """Store a file, and send the job that makes users of its rows, without welcome emails."""
    user, form = await forms.read_user_form(request)
    file = form.files.get("file")
    if file is None or not file.filename:
        return await page.show_shop(request, user, {"import": "Choose a file first."}, 400)
    try:
        await run_in_threadpool(_start, user.user_id, file, again="again" in form.fields)
    except AlreadyImportedError as err:
        problem = f"You have handed this file in before, as import {err.import_id}."
        return await page.show_shop(request, user, {"import": problem}, 409)
    return RedirectResponse("./#import", 303)


def _start(user_id: int, file: FormFile, *, again: bool) -> None:
    content = io.BytesIO(file.content)
    try:
        import_actions.import_stream(content, file.filename, user_id, welcome=False, again=again)
    except RecordMissing:
        raise TokenError("belongs to a deleted user") from None
