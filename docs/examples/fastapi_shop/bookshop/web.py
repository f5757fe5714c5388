"""The web application. Each request is one transaction, and so are the jobs that it sends.

Authentication is left out.
"""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Body, Depends, FastAPI
from pydantic import BaseModel
from sqlalchemy.orm import Session

from bookshop import files, jobs
from bookshop.database import SessionLocal
from bookshop.models import Import, Newsletter, Photo, User
from workshed import db
from workshed.contrib import notifications
from workshed.contrib.notifications import Notification

AT_ONCE = 100
"""Notifications that are returned at once."""

web = FastAPI()


def begin() -> Iterator[Session]:
    """Open a transaction, which commits before the answer is sent."""
    with SessionLocal.begin() as session:
        yield session


Transaction = Annotated[Session, Depends(begin, scope="function")]


class SignUp(BaseModel):
    """Who signs up."""

    name: str
    email: str


class Letter(BaseModel):
    """A newsletter."""

    subject: str
    text: str


@web.post("/users", status_code=201)
def sign_up(form: SignUp, session: Transaction) -> dict[str, int]:
    """Create a user, who is welcomed if the transaction commits."""
    user = User(name=form.name, email=form.email)
    session.add(user)
    session.flush()
    jobs.send_welcome_email.set(conn=session).send(user.id)
    return {"id": user.id}


@web.post("/users/{user_id}/photos", status_code=202)
def upload_photo(
    user_id: int, content: Annotated[bytes, Body(media_type="image/jpeg")], session: Transaction
) -> dict[str, int]:
    """Store a photo, of which a thumbnail is made."""
    photo = Photo(user_id=user_id, original=files.keep(content))
    session.add(photo)
    session.flush()
    jobs.make_thumbnail.set(conn=session).send(photo.id)
    return {"id": photo.id}


@web.get("/users/{user_id}/notifications")
def list_notifications(user_id: int, after: int = 0) -> list[Notification]:
    """Return the notifications of a user after a number."""
    with db.transaction() as conn:
        return notifications.after(conn, f"{user_id}", after, AT_ONCE)


@web.post("/users/{user_id}/imports", status_code=202)
def upload_users(
    user_id: int, content: Annotated[bytes, Body(media_type="text/csv")], session: Transaction
) -> dict[str, int]:
    """Store a CSV file, from which users are created."""
    job = Import(owner_id=user_id, file=files.keep(content))
    session.add(job)
    session.flush()
    jobs.import_users.set(conn=session).send(job.id)
    return {"id": job.id}


@web.post("/newsletters", status_code=202)
def publish_newsletter(letter: Letter, session: Transaction) -> dict[str, int]:
    """Send a newsletter to all users."""
    newsletter = Newsletter(subject=letter.subject, text=letter.text)
    session.add(newsletter)
    session.flush()
    jobs.send_newsletter.set(conn=session).send(newsletter.id)
    return {"id": newsletter.id}
