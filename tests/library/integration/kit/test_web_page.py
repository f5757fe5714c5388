"""The applications of docs/web.md and their tests, run as printed, with the actor of the README."""

import pytest

from tests import pages

PAGE = "docs/web.md"
SHOP = pages.files("README.md") | pages.files(PAGE)
TESTS = pages.files(PAGE, "test")
ENGINE = pages.files(PAGE, "conftest")["conftest.py"]
TABLES = pages.files("docs/testing.md", "orders")["conftest.py"]
FRAMEWORKS = ["fastapi", "flask"]
CLIENT = {
    "fastapi": """
from fastapi.testclient import TestClient
from fastapi_shop import web

client = TestClient(web, raise_server_exceptions=False)
""",
    "flask": """
from flask_shop import web

client = web.test_client()
""",
}
TEST_FAILURE = """
import pytest
import sqlalchemy
from sqlalchemy import event, orm

from shop_actors import send_invoice
from workshed import db

def fail(session):
    raise RuntimeError("as PostgreSQL might at the commit")

@pytest.fixture
def failing():
    event.listen(orm.Session, "before_commit", fail)
    yield
    event.remove(orm.Session, "before_commit", fail)

def test_a_commit_that_fails_is_an_error_and_leaves_nothing(jobs, failing):
    assert client.post("/orders").status_code == 500
    jobs.refute_enqueued(send_invoice)
    with db.transaction() as conn:
        assert conn.execute("SELECT count(*) FROM store.orders").fetchone() == (0,)

def test_the_next_request_works(jobs):
    assert client.post("/orders").status_code == 201
"""


@pytest.fixture
def write(project):
    """Write an application with its `conftest.py`."""

    def write(framework):
        for example in SHOP.items():
            project.write(*example)
        project.write("conftest.py", TABLES + ENGINE.replace("fastapi", framework))

    return write


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_printed_test_passes(framework, project, write):
    write(framework)
    name = f"test_{framework}_shop.py"
    project.write(name, TESTS[name])

    project.run().assert_outcomes(passed=1)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_request_whose_commit_fails_sends_no_job(framework, project, write):
    """With FastAPI's default scope of a dependency, the client would get a 201."""
    write(framework)
    project.write("test_failure.py", CLIENT[framework] + TEST_FAILURE)

    project.run().assert_outcomes(passed=2)


def test_every_example_is_run_here():
    assert TESTS.keys() == {f"test_{framework}_shop.py" for framework in FRAMEWORKS}
