"""A user's project that tests the service."""

from tests.library.integration.kit.conftest import project, pytest_itemcollected

__all__ = ["project", "pytest_itemcollected"]
