"""Settings of the service, independent of the developer's shell, and the documentation site."""

import pytest

from tests.service.variables import SHOP
from tests.variables import taken_away
from tools.website.building import build_site

taken_away(SHOP)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built as `make docs` does; a warning fails the test."""
    folder = tmp_path_factory.mktemp("site") / "site"
    build_site(folder)
    return folder
