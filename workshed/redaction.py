"""How arguments of a job are shown to people."""

HIDDEN = "[redacted]"
"""Stands for a value that its actor names in `redact=`."""


def hide_words(text: str, secrets: tuple[str, ...]) -> str:
    """Hide some words, the longest first, wherever they stand in a text."""
    for word in secrets:
        text = text.replace(word, HIDDEN)
    return text
