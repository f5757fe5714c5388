"""The error that ends a release."""


class ReleaseError(Exception):
    """The packages cannot be released: the text says why, and what to do."""
