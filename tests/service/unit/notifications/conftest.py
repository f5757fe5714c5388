"""Keys to sign with."""

import pytest

from workshed.settings import settings

OLD, NEW = "o" * 32, "n" * 43


@pytest.fixture
def keys(monkeypatch):
    """`keys(NEW, OLD)` signs with the first key and accepts all."""

    def use(*keys):
        monkeypatch.setenv("WORKSHED_SECRET_KEY", ",".join(keys))
        settings.cache_clear()

    use(NEW)
    return use
