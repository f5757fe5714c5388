"""Imports that need an extra name it."""

import pytest

from workshed.extras import MissingExtraError, require_extra


def import_without_greenlet():
    """Raise what SQLAlchemy raises without greenlet."""
    raise ImportError("install sqlalchemy[asyncio]") from ModuleNotFoundError(name="greenlet")


def import_of_a_bug():
    raise ImportError("cannot import name 'Sesion'")


def test_a_module_that_another_library_misses_is_named_with_our_extra():
    said = r"needs greenlet: pip install 'workshed\[sqlalchemy\]'"

    with pytest.raises(MissingExtraError, match=said), require_extra("sqlalchemy"):
        import_without_greenlet()


def test_an_error_that_no_extra_cures_is_raised_unchanged():
    with pytest.raises(ImportError, match="Sesion") as raised, require_extra("sqlalchemy"):
        import_of_a_bug()

    assert not isinstance(raised.value, MissingExtraError)
