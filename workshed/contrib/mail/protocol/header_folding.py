"""How headers are split into lines.

The standard library's modern policy loses or adds spaces when it splits a long name or subject into
encoded words (seen in Python 3.11, 3.12 and 3.13); its older `Header` does not.
"""

from email.header import Header
from email.headerregistry import Address
from email.policy import EmailPolicy
from email.utils import quote
from typing import Any

MAX_LINE = 76


class HeaderPolicy(EmailPolicy):
    """Write subjects and addresses as RFC 2047 and 5322 require, and other headers unchanged."""

    def header_store_parse(self, name: str, value: Any) -> tuple[str, Any]:
        """Keep a subject as it is: parsing would decode text that looks like an encoded word."""
        if name.lower() == "subject" and len(value.splitlines()) == 1:
            return name, value
        return super().header_store_parse(name, value)

    def fold_binary(self, name: str, value: Any) -> bytes:
        """Return the lines of one header."""
        match name.lower():
            case "subject":
                text = encode_text(name, str(value))
            case "from" | "to":
                text = ",\r\n ".join(format_address(name, address) for address in value.addresses)
            case "message-id" | "date" | "auto-submitted":
                text = str(value)
            case "list-unsubscribe" | "list-unsubscribe-post":
                text = str(value)  # its readers do not decode encoded words
            case _:
                return super().fold_binary(name, value)
        return f"{name}: {text}\r\n".encode()


def encode_text(header: str, text: str) -> str:
    """Encode a text, if necessary, as words of at most 75 characters."""
    charset = "us-ascii" if is_plain(text) else "utf-8"
    return Header(text, charset, MAX_LINE, header).encode(linesep="\r\n")


def is_plain(text: str) -> bool:
    """Return whether a text needs no encoding: ASCII without what looks like an encoded word."""
    return text.isascii() and "=?" not in text


def format_address(header: str, address: Address) -> str:
    """Return `name <address>`; non-ASCII letters of the address are kept."""
    name = address.display_name
    if not name:
        return address.addr_spec
    phrase = f'"{quote(name)}"' if is_plain(name) else name
    return f"{encode_text(header, phrase)}\r\n <{address.addr_spec}>"


# 7 bit: not every server offers 8BITMIME.
POLICY = HeaderPolicy(linesep="\r\n", cte_type="7bit", utf8=True)
