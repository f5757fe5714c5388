"""Remove credentials from data that is sent to third-party systems."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from workshed.database.urls import split_hosts
from workshed.environment import Secret
from workshed.redaction import HIDDEN
from workshed.settings import Settings

SHORTEST_SECRET = 4
"""Characters; shorter values would match in almost every text."""

# When in doubt, hide: an unescaped password may contain any character except a space. Names and
# schemes have a length limit, because otherwise a long text without spaces takes seconds.
URL_PASSWORD = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,30}://[^\s:@/]*):\S+@")
URL_KEY = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,30}://)[^\s/?#@:\"'<>]+@")
SENSITIVE = (
    r"[\w-]{0,40}(?:password|passwd|pwd|passphrase|secret|token|credential|authorization"
    r"|(?:api|access|private)[_-]?key)[\w-]{0,40}"
)
NAMED_SECRET = re.compile(
    rf"""(?ix) (?<![\w-]) ({SENSITIVE} (?:\\*["'])? \s* [=:] \s*)
    (?: \\+(["']).*?\\+\2                   # in quotes within quotes
      | '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*"
      | (?:bearer|basic|digest)\s+\S+
      | [^\s"'] (?:[^\s\\]|\\.)*
    )"""
)
BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")
SENSITIVE_NAME = re.compile(rf"(?i){SENSITIVE}")

KeepText = Callable[[object, str], bool]


class Scrubber:
    """Hides credentials of any kind, and the secrets it was given."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """Keep the secrets, longest first, because one may be part of another."""
        found = {secret for secret in secrets if len(secret) >= SHORTEST_SECRET}
        self._secrets = sorted(found, key=len, reverse=True)

    def scrub_text(self, text: str) -> str:
        """Hide credentials in a text: in URLs, after names such as `password=`, and known ones."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        text = URL_PASSWORD.sub(rf"\1:{HIDDEN}@", text)
        text = URL_KEY.sub(rf"\1{HIDDEN}@", text)
        text = NAMED_SECRET.sub(rf"\1{HIDDEN}", text)
        return BEARER.sub(rf"\1 {HIDDEN}", text)

    def scrub(self, value: Any, keep: KeepText = lambda *_: False) -> Any:
        """Hide credentials in all texts of a JSON value, and texts under a sensitive key.

        `keep(key, text)` returns whether to leave a text as it is.
        """
        match value:
            case str():
                return self.scrub_text(value)
            case dict():
                return {key: self._scrub_entry(key, item, keep) for key, item in value.items()}
            case list() | tuple():
                return [self.scrub(item, keep) for item in value]
        return value

    def _scrub_entry(self, key: object, value: Any, keep: KeepText) -> Any:
        # Search dicts and lists; a number or flag under a sensitive key is a count or a setting.
        if not isinstance(value, str):
            return self.scrub(value, keep)
        if keep(key, value):
            return value
        return HIDDEN if SENSITIVE_NAME.fullmatch(str(key)) else self.scrub_text(value)


def collect_secrets(config: Settings) -> set[str]:
    """Return the secrets in the settings of this process; default values do not count."""
    found: set[str] = set()
    for name, field in Settings.fields().items():
        value = getattr(config, name)
        if isinstance(value, Secret) and value != field.default:
            found.update(_split_secrets(value.get_secret_value()))
    return found


def _split_secrets(text: str) -> Iterator[str]:
    """Yield the passwords and sensitive parameters of URLs, and any other text as a whole."""
    for part in text.split(";"):
        if "://" not in part and not part.startswith("maildir:"):
            yield from (part.strip(), *(key.strip() for key in part.split(",")))
        url = urlsplit(split_hosts(part.strip())[0])
        if url.password:
            yield from (url.password, unquote(url.password))
        for name, value in parse_qsl(url.query):
            if SENSITIVE_NAME.fullmatch(name):
                yield value
