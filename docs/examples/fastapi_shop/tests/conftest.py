"""The database of the tests, for the kit and for the application."""

from io import BytesIO

import pytest
from PIL import Image
from sqlalchemy import create_engine, make_url

from bookshop.database import SessionLocal
from bookshop.models import Base, User


@pytest.fixture(scope="session", autouse=True)
def engine(jobs_database):
    url = make_url(jobs_database).set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    SessionLocal.configure(bind=engine)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def session(jobs):
    """A session that commits after each call of `store`."""
    with SessionLocal(expire_on_commit=True) as session:
        yield session


@pytest.fixture
def store(session):
    """`store(User(…))`: commit a record, and return its id."""

    def store(record):
        session.add(record)
        session.commit()
        return record.id

    return store


@pytest.fixture
def ada(store):
    """The id of a user who is an admin."""
    return store(User(name="Ada", email="ada@example.org", is_admin=True))


@pytest.fixture
def jpeg():
    """A photo of 1600 by 1200 pixels."""
    content = BytesIO()
    Image.new("RGB", (1600, 1200), "teal").save(content, "JPEG")
    return content.getvalue()
