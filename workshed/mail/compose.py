"""What the mails say."""

from functools import cache

from css_inline import CSSInliner
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from workshed.mail.emails import Draft
from workshed.mail.filters import isolated, shortened
from workshed.mail.sender import sender
from workshed.people import User
from workshed.settings import settings


def welcome(user: User) -> Draft:
    """Write the mail that follows a sign-up."""
    return _to(user, "welcome")


def reminder(user: User) -> Draft:
    """Write the mail to somebody who signed up and did not come back."""
    return _to(user, "reminder")


def _to(user: User, kind: str) -> Draft:
    about = {
        "name": user.name,
        "email": user.email,
        "product": sender().display_name or sender().domain,
        "site_url": settings().site_url,
    }
    return Draft(
        kind=kind,
        user_id=user.id,
        recipient=user.email,
        recipient_name=user.name,
        subject=render(f"{kind}.subject", about).strip(),
        text_body=render(f"{kind}.txt", about),
        html_body=_inliner().inline(render(f"{kind}.html", about)),
    )


def render(template: str, about: dict[str, str]) -> str:
    """Fill in a template of `templates/`; a value it lacks is an error."""
    return _templates().get_template(template).render(about)


@cache
def _templates() -> Environment:
    env = Environment(
        loader=PackageLoader("workshed.mail"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters |= {"shortened": shortened, "isolated": isolated}
    return env


@cache
def _inliner() -> CSSInliner:
    """Most mail programs drop style sheets; those that know dark colours keep `@media` rules."""
    return CSSInliner(keep_at_rules=True, load_remote_stylesheets=False)
