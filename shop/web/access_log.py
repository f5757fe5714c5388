"""Keep tokens out of uvicorn's access log, which contains URLs."""

import logging
import re

from shop.people.unsubscribe_links import PATH
from shop.web.token_auth import QUERY_PARAMETER

HIDDEN = r"\1***"
_TOKEN = re.compile(rf"([?&]{QUERY_PARAMETER}=|{PATH})[^&/?\s]+")


def hide_tokens() -> None:
    """Replace tokens in the log from now on; a second call changes nothing."""
    logging.getLogger("uvicorn.access").addFilter(_hide)


def _hide(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(
            _TOKEN.sub(HIDDEN, arg) if isinstance(arg, str) else arg for arg in record.args
        )
    return True
