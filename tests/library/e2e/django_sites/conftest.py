"""One database and one virtual host for the Django project of each module."""

import pytest

from tests.databases import fresh_database, sibling


@pytest.fixture(scope="module")
def site_database(servers):
    """The URL of a database that was never migrated."""
    with fresh_database(servers.database_url) as name:
        yield sibling(servers.database_url, name)


@pytest.fixture(scope="module")
def site_broker(servers, module_rabbitmq):
    """The URL of a virtual host."""
    return sibling(servers.broker_url, module_rabbitmq.vhost)
