"""Users, and the rows of files from which they are created."""

from collections.abc import Mapping

from sqlalchemy import exists
from sqlalchemy.orm import Session

from bookshop.models import User


def create_from_row(session: Session, row: Mapping[str, str]) -> str | None:
    """Create the user of a row; return what is wrong with the row instead, if anything is."""
    if not row.get("name") or "@" not in row.get("email", ""):
        return "name or email address is missing"
    if session.query(exists().where(User.email == row["email"])).scalar():
        return "the email address is taken"
    session.add(User(name=row["name"], email=row["email"]))
    return None
