"""Redaction of a job's arguments where people see them."""

HIDDEN = "[redacted]"
"""Replaces a value that its actor names in `redact=`."""


def hide_words(text: str, secrets: tuple[str, ...]) -> str:
    """Hide these words, which come longest first, wherever they occur in a text."""
    for word in secrets:
        text = text.replace(word, HIDDEN)
    return text
