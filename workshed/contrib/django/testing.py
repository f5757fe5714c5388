"""The test kit on the database that Django's tests create.

For pytest with pytest-django, import the fixture in `conftest.py`: `from
workshed.contrib.django.testing import jobs_kit`. In a class of unittest, inherit from `JobsMixin`.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NoReturn

from workshed.extras import require_extra

with require_extra("test"):
    import pytest

from workshed.contrib.django import configuration, created_databases
from workshed.settings import settings
from workshed.testing.errors import KitError
from workshed.testing.jobs import Jobs
from workshed.testing.kit import FAKE, DatabaseKit, open_kit

__all__ = ["JobsMixin", "jobs_kit"]

SETUP_MODULE = "workshed.contrib.django.setup"
"""Imported by a worker before the actors, and after modules of the project, which may change
settings."""


class JobsMixin:
    """Gives a test case of Django the kit, as `self.jobs`: `class OrderTest(JobsMixin, TestCase)`.

    It also empties Workshed's tables after each test. If you override `setUp` or `setUpClass`, call
    that of `super()` first.
    """

    jobs: Jobs
    """The jobs that the test has sent."""
    jobs_mode: ClassVar[str] = FAKE
    """`"inline"`: jobs run as soon as they are sent."""
    _kit: ClassVar[DatabaseKit]

    @classmethod
    def setUpClass(cls) -> None:
        """Open the kit, before the transaction of the class, which may lock what it changes."""
        cls._kit = cls.enterClassContext(open_created_kit())  # type: ignore[attr-defined]
        super().setUpClass()  # type: ignore[misc]

    def setUp(self) -> None:
        """Redirect what the test sends to its database."""
        super().setUp()  # type: ignore[misc]
        entered = self._kit.test(refuse_real_worker, self.jobs_mode)
        self.jobs = self.enterContext(entered)  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def jobs_kit(
    django_db_setup: None,  # noqa: ARG001 -- creates the database
    django_db_blocker: Any,
    jobs_other_databases: Sequence[str],
    jobs_worker_modules: Sequence[str],
) -> Generator[DatabaseKit]:
    """Replace the fixture of the kit: use the database of pytest-django."""
    modules = [*jobs_worker_modules, SETUP_MODULE]
    opened = open_created_kit(jobs_other_databases, modules)
    with django_db_blocker.unblock(), opened as kit:
        yield kit


@contextmanager
def open_created_kit(
    other_databases: Sequence[str] = (), worker_modules: Sequence[str] = ()
) -> Generator[DatabaseKit]:
    """Open the kit on the database that Django's tests have created; they may use the others too.

    Raises `KitError` if they have created none, because the kit empties tables.
    """
    alias = configuration.database_alias()
    if alias is None or not created_databases.is_created(alias):
        raise KitError(
            f"Django's tests have created no database for WORKSHED['DATABASE']={alias!r}: run them "
            "by `manage.py test` or pytest-django, and without a `django_db_setup` of your own"
        )
    url = settings().database_url.get_secret_value()
    others = [*other_databases, *created_databases.list_names()]
    with open_kit(url, others, worker_modules) as kit:
        yield kit


def refuse_real_worker() -> NoReturn:
    """Raise `KitError`: in a class of unittest, no fixture starts a RabbitMQ."""
    raise KitError("jobs_mode='real' needs pytest: use the fixture `jobs` in a function")
