"""The service can be imported without features that only Linux has."""

from tests.library.e2e.test_macos import IMPORT, as_on_macos

__all__ = ["as_on_macos"]


def test_every_module_imports(as_on_macos):
    packages = ("actors", "brokers", "middleware", "shop")

    assert int(as_on_macos("-c", IMPORT, *packages)) > 150
