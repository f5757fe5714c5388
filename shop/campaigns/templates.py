"""Rendering of a campaign's templates, which are untrusted, for one recipient."""

import functools
from dataclasses import replace
from datetime import UTC, datetime

import jinja2
from jinja2 import StrictUndefined, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from shop import compose
from shop.campaigns.campaigns import Campaign
from shop.campaigns.errors import TemplateError
from shop.people import User, unsubscribe_links
from workshed.contrib.mail import BULK, SINGLE, Draft
from workshed.contrib.mail.filters import FILTERS, shorten_name

KIND, TEST_KIND = "campaign", "campaign_test"
"""Kinds of emails; the campaign's id distinguishes those of one kind to the same person."""
MAX_SUBJECT_LENGTH = 250
MAX_LENGTH = 1_000_000
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


def check_templates(campaign: Campaign) -> Draft:
    """Return the email that the sample recipient would get.

    Raises `TemplateError`, also if subject or text are empty or a part has no unsubscribe link, and
    `SettingsError` if the link cannot be signed.
    """
    written, link = draft_email(campaign, SAMPLE), unsubscribe_links.build_link(SAMPLE.id)
    if not written.text_body.strip():
        raise TemplateError("text", "it is empty; mail programs that show no HTML show it")
    for part, body in (("text", written.text_body), ("HTML", written.html_body)):
        if body is not None and link not in body:
            raise TemplateError(
                part, "it shows no way to unsubscribe; write {{ unsubscribe_url }} where it belongs"
            )
    return written


def draft_email(campaign: Campaign, user: User) -> Draft:
    """Write the email to one recipient; raises `TemplateError`."""
    known = {
        **compose.user_variables(user),
        "campaign": campaign.name,
        "unsubscribe_url": unsubscribe_links.build_link(user.id),
    }
    subject = " ".join(_render("subject", campaign.subject, known).split())
    if not subject:
        raise TemplateError("subject", "it is empty")
    page = campaign.html_body
    inlined = None if page is None else _inline_styles(_render("HTML", page, known))
    return Draft(
        kind=KIND,
        user_id=str(user.id),
        about=str(campaign.id),
        recipient=user.email,
        recipient_name=user.name,
        subject=shorten_name(subject, MAX_SUBJECT_LENGTH),
        text_body=_render("text", campaign.text_body, known),
        html_body=inlined,
        priority=BULK,
    )


def draft_test_email(campaign: Campaign, address: str, user: User | None, at: datetime) -> Draft:
    """Write a test email, which shows what the campaign looks like; raises `TemplateError`.

    It is rendered for the user with that address, if there is one, else for the sample recipient.
    `at` distinguishes it from other test emails.
    """
    known = user or replace(SAMPLE, email=address)
    written = draft_email(campaign, known)
    return replace(
        written,
        kind=TEST_KIND,
        user_id=None,
        about=f"{campaign.id} {address} {at.isoformat()}",
        recipient=address,
        subject=shorten_name(f"[Test] {written.subject}", MAX_SUBJECT_LENGTH),
        priority=SINGLE,
    )


def _render(part: str, source: str, known: dict[str, object]) -> str:
    try:
        text = _compile_template(source, is_page=part == "HTML").render(known)
        text.encode()  # a lone surrogate can be neither stored nor sent
    except jinja2.TemplateSyntaxError as err:
        raise TemplateError(part, f"line {err.lineno}: {err.message}") from err
    except Exception as err:  # an expression in a template may raise anything
        raise TemplateError(part, f"{type(err).__name__}: {err}") from err
    if len(text) > MAX_LENGTH:
        raise TemplateError(part, f"it has {len(text)} characters, more than {MAX_LENGTH}")
    if "\0" in text:
        raise TemplateError(part, "it has a NUL, which no mail may have")
    return text


def _inline_styles(page: str) -> str:
    try:
        return compose.inline_styles(page)
    except ValueError as err:
        raise TemplateError("HTML", f"its style cannot be read: {err}") from err


@functools.lru_cache(maxsize=32)
def _compile_template(source: str, *, is_page: bool) -> Template:
    return _environment(is_page=is_page).from_string(source)


@functools.cache
def _environment(*, is_page: bool) -> ImmutableSandboxedEnvironment:
    """Return the environment of templates, which can access only the values passed to them."""
    env = ImmutableSandboxedEnvironment(
        autoescape=is_page, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    env.filters |= FILTERS
    return env
