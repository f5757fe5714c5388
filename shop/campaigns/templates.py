"""Rendering of a campaign's templates, which are untrusted, for one recipient."""

import functools
from dataclasses import replace
from datetime import UTC, datetime

import jinja2
from jinja2 import StrictUndefined, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from shop import compose
from shop.campaigns.errors import TemplateError
from shop.campaigns.stored import Campaign
from shop.people import User, unsubscribing
from workshed.contrib.mail import BULK, SINGLE, Draft
from workshed.contrib.mail.filters import FILTERS, shortened

KIND, TRIAL = "campaign", "campaign_test"
"""Kinds of emails; the campaign's id distinguishes those of one kind to the same person."""
LONGEST_SUBJECT = 250
LONGEST = 1_000_000
"""Characters of a rendered template."""
SAMPLE = User(
    id=0,
    name="Zoë <Sample> O'Neill & Sons",
    email="zoe.o'neill@sample.example",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    welcomed_at=None,
    activated_at=None,
    unsubscribed_at=None,
    reminder_id=None,
)
"""A user with every difficult character; each campaign is rendered for her first."""


def check(campaign: Campaign) -> Draft:
    """Return the email that the sample recipient would get.

    Raises `TemplateError`, also if subject or text are empty or a part has no unsubscribe link, and
    `SettingsError` if the link cannot be signed.
    """
    written, link = draft(campaign, SAMPLE), unsubscribing.link(SAMPLE.id)
    if not written.text_body.strip():
        raise TemplateError("text", "it is empty; mail programs that show no HTML show it")
    for part, body in (("text", written.text_body), ("HTML", written.html_body)):
        if body is not None and link not in body:
            raise TemplateError(
                part, "it shows no way to unsubscribe; write {{ unsubscribe_url }} where it belongs"
            )
    return written


def draft(campaign: Campaign, user: User) -> Draft:
    """Write the email to one recipient; raises `TemplateError`."""
    known = {
        **compose.about_user(user),
        "campaign": campaign.name,
        "unsubscribe_url": unsubscribing.link(user.id),
    }
    subject = " ".join(_filled("subject", campaign.subject, known).split())
    if not subject:
        raise TemplateError("subject", "it is empty")
    page = campaign.html_body
    inlined = None if page is None else _inlined(_filled("HTML", page, known))
    return Draft(
        kind=KIND,
        user_id=str(user.id),
        about=str(campaign.id),
        recipient=user.email,
        recipient_name=user.name,
        subject=shortened(subject, LONGEST_SUBJECT),
        text_body=_filled("text", campaign.text_body, known),
        html_body=inlined,
        priority=BULK,
    )


def trial(campaign: Campaign, address: str, user: User | None, at: datetime) -> Draft:
    """Write a test email, which shows what the campaign looks like; raises `TemplateError`.

    It is rendered for the user with that address, if there is one, else for the sample recipient.
    `at` distinguishes it from other test emails.
    """
    known = user or replace(SAMPLE, email=address)
    written = draft(campaign, known)
    return replace(
        written,
        kind=TRIAL,
        user_id=None,
        about=f"{campaign.id} {address} {at.isoformat()}",
        recipient=address,
        subject=shortened(f"[Test] {written.subject}", LONGEST_SUBJECT),
        priority=SINGLE,
    )


def _filled(part: str, source: str, known: dict[str, object]) -> str:
    try:
        text = _template(source, is_page=part == "HTML").render(known)
        text.encode()  # a lone surrogate can be neither stored nor sent
    except jinja2.TemplateSyntaxError as err:
        raise TemplateError(part, f"line {err.lineno}: {err.message}") from err
    except Exception as err:  # an expression in a template may raise anything
        raise TemplateError(part, f"{type(err).__name__}: {err}") from err
    if len(text) > LONGEST:
        raise TemplateError(part, f"it has {len(text)} characters, more than {LONGEST}")
    if "\0" in text:
        raise TemplateError(part, "it has a NUL, which no mail may have")
    return text


def _inlined(page: str) -> str:
    try:
        return compose.inlined(page)
    except ValueError as err:
        raise TemplateError("HTML", f"its style cannot be read: {err}") from err


@functools.lru_cache(maxsize=32)
def _template(source: str, *, is_page: bool) -> Template:
    return _environment(is_page=is_page).from_string(source)


@functools.cache
def _environment(*, is_page: bool) -> ImmutableSandboxedEnvironment:
    """Return the environment of templates, which can access only the values passed to them."""
    env = ImmutableSandboxedEnvironment(
        autoescape=is_page, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    env.filters |= FILTERS
    return env
