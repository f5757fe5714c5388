"""Sites of Django: projects with their own processes, on real servers."""

import contextlib

import django
import pytest

from tests.databases import fresh_database, sibling
from tests.library.e2e.django_sites.contract_project import HEAD, TASKS
from tests.library.e2e.django_sites.task_project import TaskSite
from tests.vhosts import fresh_vhost

NEEDS_DJANGO_6 = "test_tasks_*.py"
"""These need `django.tasks`, and so Django 6, and Python 3.12. The matrix runs them on 3.14."""

collect_ignore_glob = [] if django.VERSION >= (6, 0) else [NEEDS_DJANGO_6]


def pytest_report_header():
    """Say which tests are left out on an older Django."""
    if collect_ignore_glob:
        return f"django {django.get_version()} has no django.tasks: without {NEEDS_DJANGO_6}"
    return None


@pytest.fixture(scope="module")
def site(servers, tmp_path_factory):
    """A project with tasks whose tables exist; the tests of a module share it."""
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(fresh_database(servers.database_url))
        api = stack.enter_context(fresh_vhost(servers.management_url))
        made = TaskSite(
            tmp_path_factory.mktemp("site"),
            sibling(servers.database_url, name),
            sibling(servers.broker_url, api.vhost),
        )
        stack.callback(made.stop)
        made.manage("makemigrations", "shop")
        made.manage("migrate")
        yield made


@pytest.fixture(scope="module")
def worker(site):
    """A worker and a relay of the project."""
    return site.start("workshed", "worker", "-p", "1", "-t", "4")


@pytest.fixture(scope="module")
def ask(site):
    """`ask("return 1 + 1")`: run the body of a function in a process of the project."""
    return site.open_shell().ask


@pytest.fixture(scope="module")
def run(site, ask):
    """`run(code)`: as `ask`, with the tasks of `contract_project`."""
    site.write("shop/contract.py", TASKS)
    return lambda code: ask(HEAD + code)


@pytest.fixture
def finished(ask, eventually):
    """`finished(id)`: wait for the end of a task, and return its result as a dictionary."""

    def wait(result_id):
        def find():
            found = ask(f"return describe(default_task_backend.get_result({result_id!r}))")
            return found if found["finished_at"] else None

        return eventually(find)

    return wait


@pytest.fixture(scope="module")
def site_database(servers):
    """The URL of a database that was never migrated."""
    with fresh_database(servers.database_url) as name:
        yield sibling(servers.database_url, name)


@pytest.fixture(scope="module")
def site_broker(servers, module_rabbitmq):
    """The URL of a virtual host."""
    return sibling(servers.broker_url, module_rabbitmq.vhost)
