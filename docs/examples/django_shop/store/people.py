"""Users, and the rows of files from which they are created."""

from collections.abc import Mapping

from store.models import User


def create_from_row(row: Mapping[str, str]) -> str | None:
    """Create the user of a row; return what is wrong with the row instead, if anything is."""
    if not row.get("name") or "@" not in row.get("email", ""):
        return "name or email address is missing"
    if User.objects.filter(email=row["email"]).exists():
        return "the email address is taken"
    User.objects.create(name=row["name"], email=row["email"])
    return None
