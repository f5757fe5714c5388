"""The pytest plugin. Every pytest run loads it, so it imports our modules only once needed."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from workshed.extras import require_extra

with require_extra("test"):
    import pytest

if TYPE_CHECKING:
    from workshed.testing.kit import Kit
    from workshed.testing.real_worker.servers import KitRabbitMQ
    from workshed.testing.sends import SentJobs


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker for `--strict-markers`."""
    config.addinivalue_line("markers", 'jobs(mode="fake"): when the jobs of a test run')


@pytest.fixture(scope="session")
def jobs_server() -> Iterator[str | Exception]:
    """URL of the PostgreSQL for the tests, or why there is none; override this to use another."""
    from workshed.testing.real_worker import servers

    with servers.find_server() as url:
        yield url


@pytest.fixture(scope="session")
def jobs_other_databases() -> Sequence[str]:
    """Names or patterns of other databases that tests with `jobs` may use; override this."""
    return ()


@pytest.fixture(scope="session")
def jobs_worker_modules() -> Sequence[str]:
    """Modules that the worker of mode `real` imports before those of the actors; override this."""
    return ()


@pytest.fixture(scope="session")
def jobs_engines() -> Sequence[object]:
    """Your engines or sessionmakers of SQLAlchemy, which then use `jobs_database`; override this.

    Both kinds, synchronous and for asyncio.
    """
    return ()


@pytest.fixture(scope="session")
def jobs_kit(
    jobs_server: str | Exception,
    jobs_other_databases: Sequence[str],
    jobs_worker_modules: Sequence[str],
    jobs_engines: Sequence[object],
    request: pytest.FixtureRequest,
) -> "Iterator[Kit]":
    """Share a database, and connections to it, among the tests of a process."""
    from workshed.testing.kit import create_kit

    worker = getattr(request.config, "workerinput", {}).get("workerid", "main")
    with ExitStack() as stack:
        made = stack.enter_context(
            create_kit(jobs_server, worker, jobs_other_databases, jobs_worker_modules)
        )
        if jobs_engines:
            from workshed.testing.engines import redirect_engines

            stack.enter_context(redirect_engines(jobs_engines, lambda: made.database_url))
        yield made


@pytest.fixture(scope="session")
def jobs_database(jobs_kit: "Kit") -> str:
    """URL of the database in which the tests' jobs run; create your application's tables there."""
    return jobs_kit.database_url


@pytest.fixture(scope="session")
def jobs_rabbitmq(jobs_database: str) -> "Iterator[KitRabbitMQ]":
    """Run a RabbitMQ for tests in mode `real`; override this to use another."""
    from workshed.testing.real_worker import servers

    with servers.private_rabbitmq(jobs_database) as started:
        yield started


@pytest.fixture
def jobs(jobs_kit: "Kit", request: pytest.FixtureRequest) -> "Iterator[SentJobs]":
    """Jobs that wait in PostgreSQL, and run in this thread when the test says so.

    `@pytest.mark.jobs(mode="inline")`: they run at once; `"real"`: they run in a worker process.
    """
    marker = request.node.get_closest_marker("jobs")
    options = marker.kwargs if marker else {}
    with jobs_kit.test(lambda: request.getfixturevalue("jobs_rabbitmq"), **options) as made:
        yield made
