"""Links to unsubscribe from campaigns; they are valid for as long as the secret keys are."""

from urllib.parse import urlsplit, urlunsplit

from itsdangerous import BadData

from shop.people.errors import UnsubscribeTokenError
from shop.settings import settings
from workshed import secret_keys

PURPOSE = "shop.people.unsubscribe_links"
PATH = "/unsubscribe/"


def build_link(user_id: int) -> str:
    """Return a user's link to unsubscribe; raises `SettingsError` without keys."""
    site = urlsplit(settings().site_url)
    path = site.path.rstrip("/") + PATH + sign_token(user_id)
    return urlunsplit((site.scheme, site.netloc, path, "", ""))


def build_link_from_text(user_id: str) -> str:
    """Return the link for a user id as emails store it, a string."""
    return build_link(int(user_id))


def sign_token(user_id: int) -> str:
    """Return the last part of that link."""
    return str(secret_keys.create_signer(PURPOSE).dumps(user_id))


def read_token(token: str) -> int:
    """Return the user id of a token; raises `UnsubscribeTokenError`."""
    try:
        user_id = secret_keys.create_signer(PURPOSE).loads(token)
    except (BadData, ValueError):  # not chained, because these errors may quote the token
        user_id = None
    if type(user_id) is not int:
        raise UnsubscribeTokenError
    return user_id
