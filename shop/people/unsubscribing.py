"""The links by which people leave the mails to many; they hold for as long as the keys."""

from urllib.parse import urlsplit, urlunsplit

from itsdangerous import BadData

from shop.people.errors import UnsubscribeTokenError
from shop.settings import settings
from workshed import secret_keys

PURPOSE = "shop.people.unsubscribing"
PATH = "/unsubscribe/"


def link(user_id: int) -> str:
    """Return the address by which this user unsubscribes; raises `SettingsError` without keys."""
    site = urlsplit(settings().site_url)
    path = site.path.rstrip("/") + PATH + token(user_id)
    return urlunsplit((site.scheme, site.netloc, path, "", ""))


def link_of(user_id: str) -> str:
    """Return the same for the id as mails have it."""
    return link(int(user_id))


def token(user_id: int) -> str:
    """Return the last part of that address."""
    return str(secret_keys.signer(PURPOSE).dumps(user_id))


def user_of(token: str) -> int:
    """Return whose a token is; raises `UnsubscribeTokenError`."""
    try:
        user_id = secret_keys.signer(PURPOSE).loads(token)
    except (BadData, ValueError):  # the error of a library may quote the token
        user_id = None
    if type(user_id) is not int:
        raise UnsubscribeTokenError
    return user_id
