"""Composing the emails of the service from templates."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from shop.people import User
from shop.settings import settings
from workshed.contrib.mail.files import File
from workshed.contrib.mail.filters import FILTERS
from workshed.contrib.mail.sender import get_sender
from workshed.contrib.mail.stored_mails import ALERT, SINGLE, Draft

if TYPE_CHECKING:
    from css_inline import CSSInliner

TIME_FORMAT = "%Y-%m-%d %H:%M UTC"

NO_VARIABLES: Mapping[str, object] = MappingProxyType({})


def write_welcome(user: User) -> Draft:
    """Write the email that follows a sign-up."""
    return write_email(user, "welcome")


def write_reminder(user: User) -> Draft:
    """Write the email to a user who signed up and did not come back."""
    return write_email(user, "reminder")


def write_import_failed(user: User, import_id: int, filename: str, error: str) -> Draft:
    """Write the email to a user whose file could not be imported."""
    found = {"filename": filename, "error": error}
    return write_email(user, "import_failed", about=f"import {import_id}", found=found)


def write_sync_failing(
    admin: User, source: str, reason: str, since: str, window: datetime
) -> Draft:
    """Write the email to an admin about a failing source, once per window."""
    found = {"source": source, "reason": reason, "since": since}
    about = f"{source} {window.isoformat()}"
    return write_email(admin, "sync_failing", about=about, found=found, priority=ALERT)


def write_sync_recovered(admin: User, source: str, since: datetime, until: datetime) -> Draft:
    """Write the email to an admin about a source that has recovered."""
    found = {"source": source, "since": f"{since:{TIME_FORMAT}}", "until": f"{until:{TIME_FORMAT}}"}
    about = f"{source} {since.isoformat()}"
    return write_email(admin, "sync_recovered", about=about, found=found, priority=ALERT)


def write_email(
    user: User,
    kind: str,
    *,
    about: str = "",
    found: Mapping[str, object] = NO_VARIABLES,
    files: tuple[File, ...] = (),
    priority: int = SINGLE,
) -> Draft:
    """Write an email from the templates of its kind; `found` has additional variables."""
    known = {**user_variables(user), **found}
    return Draft(
        kind=kind,
        user_id=str(user.id),
        about=about,
        recipient=user.email,
        recipient_name=user.name,
        subject=render_template(f"{kind}.subject", known).strip(),
        text_body=render_template(f"{kind}.txt", known),
        html_body=inline_styles(render_template(f"{kind}.html", known)),
        files=files,
        priority=priority,
    )


def user_variables(user: User) -> dict[str, object]:
    """Return the variables that every template has: recipient, sender and site."""
    return {
        "name": user.name,
        "email": user.email,
        "product": get_sender().display_name or get_sender().domain,
        "site_url": settings().site_url,
    }


def inline_styles(page: str) -> str:
    """Inline the styles of a page, because mail programs drop style sheets."""
    return _inliner().inline(page)


def render_template(template: str, about: Mapping[str, object]) -> str:
    """Render a template in `templates/`; a missing variable is an error."""
    return _templates().get_template(template).render(about)


@cache
def _templates() -> Environment:
    env = Environment(
        loader=PackageLoader("shop"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters |= FILTERS
    return env


@cache
def _inliner() -> "CSSInliner":
    """Return an inliner that keeps `@media` rules, for mail programs with a dark mode."""
    from css_inline import CSSInliner  # noqa: PLC0415 -- the console only reads emails

    return CSSInliner(keep_at_rules=True, load_remote_stylesheets=False)
