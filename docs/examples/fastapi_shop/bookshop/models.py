"""The tables of the bookshop."""

from datetime import date, datetime

from sqlalchemy import Column, DateTime, ForeignKey, Table, Text, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    """The base of all models; times have a time zone."""

    type_annotation_map = {datetime: DateTime(timezone=True)}  # noqa: RUF012 -- SQLAlchemy's own


Table("blobs", Base.metadata, Column("sha256", Text, primary_key=True), schema="workshed_storage")
FILE = "workshed_storage.blobs.sha256"
"""A file stays in the storage for as long as a row refers to it."""


class User(Base):
    """A customer, or an admin."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str] = mapped_column(unique=True)
    is_admin: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    welcomed_at: Mapped[datetime | None]
    activated_at: Mapped[datetime | None]
    unsubscribed_at: Mapped[datetime | None]


class Photo(Base):
    """A photo that a user has uploaded."""

    __tablename__ = "photos"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey(User.id))
    original: Mapped[str] = mapped_column(ForeignKey(FILE), index=True)
    thumbnail: Mapped[str | None] = mapped_column(ForeignKey(FILE), index=True)


class Import(Base):
    """A CSV file of users."""

    __tablename__ = "imports"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey(User.id))
    file: Mapped[str] = mapped_column(ForeignKey(FILE), index=True)
    total: Mapped[int | None]
    completed_at: Mapped[datetime | None]
    error: Mapped[str | None]
    owner: Mapped[User] = relationship()
    rows: Mapped[list["ImportRow"]] = relationship()


class ImportRow(Base):
    """The result of one row of a file."""

    __tablename__ = "import_rows"

    import_id: Mapped[int] = mapped_column(ForeignKey(Import.id), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    problem: Mapped[str | None]


class Order(Base):
    """What a user has bought."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey(User.id))
    total_cents: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class DailyReport(Base):
    """The numbers of a day."""

    __tablename__ = "daily_reports"

    day: Mapped[date] = mapped_column(primary_key=True)
    new_users: Mapped[int]
    orders: Mapped[int]
    revenue_cents: Mapped[int]


class Supplier(Base):
    """Another system, whose products the bookshop sells."""

    __tablename__ = "suppliers"

    id: Mapped[int] = mapped_column(primary_key=True)
    url: Mapped[str]
    synced_at: Mapped[datetime | None]


class Product(Base):
    """A local copy of a supplier's product."""

    __tablename__ = "products"

    supplier_id: Mapped[int] = mapped_column(ForeignKey(Supplier.id), primary_key=True)
    sku: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    price_cents: Mapped[int]


class Newsletter(Base):
    """A mail to all users."""

    __tablename__ = "newsletters"

    id: Mapped[int] = mapped_column(primary_key=True)
    subject: Mapped[str]
    text: Mapped[str]
