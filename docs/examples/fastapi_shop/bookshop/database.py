"""The engine of the web application. Jobs use `job_session`, and need none."""

import os

from sqlalchemy import create_engine, make_url
from sqlalchemy.orm import sessionmaker

from bookshop.models import Base

url = make_url(os.environ.get("WORKSHED_DATABASE_URL", "postgresql:///workshed"))
engine = create_engine(url.set(drivername="postgresql+psycopg"))
SessionLocal = sessionmaker(engine)


def create_tables() -> None:
    """Create the tables; a larger application leaves that to Alembic."""
    Base.metadata.create_all(engine)
