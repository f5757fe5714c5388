"""The tables of the bookshop."""

from django.db import models
from django.db.models.functions import Now


class Blob(models.Model):
    """A file of `workshed.contrib.storage`, which stays as long as a row refers to it."""

    sha256 = models.TextField(primary_key=True)

    class Meta:
        """The table is Workshed's."""

        managed = False
        db_table = '"workshed_storage"."blobs"'


class User(models.Model):
    """A customer, or an admin."""

    name = models.TextField()
    email = models.TextField(unique=True)
    is_admin = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())
    welcomed_at = models.DateTimeField(null=True)
    activated_at = models.DateTimeField(null=True)
    unsubscribed_at = models.DateTimeField(null=True)


class Photo(models.Model):
    """A photo that a user has uploaded."""

    user = models.ForeignKey(User, models.CASCADE)
    original = models.ForeignKey(Blob, models.PROTECT, related_name="+")
    thumbnail = models.ForeignKey(Blob, models.PROTECT, null=True, related_name="+")


class Import(models.Model):
    """A CSV file of users."""

    owner = models.ForeignKey(User, models.CASCADE)
    file = models.ForeignKey(Blob, models.PROTECT, related_name="+")
    total = models.IntegerField(null=True)
    completed_at = models.DateTimeField(null=True)
    error = models.TextField(null=True)


class ImportRow(models.Model):
    """The result of one row of a file."""

    job = models.ForeignKey(Import, models.CASCADE, related_name="rows")
    number = models.IntegerField()
    problem = models.TextField(null=True)

    class Meta:
        """Each row has one result."""

        constraints = (models.UniqueConstraint(fields=["job", "number"], name="import_row_once"),)


class Order(models.Model):
    """What a user has bought."""

    user = models.ForeignKey(User, models.CASCADE)
    total_cents = models.IntegerField()
    created_at = models.DateTimeField(db_default=Now())


class DailyReport(models.Model):
    """The numbers of a day."""

    day = models.DateField(primary_key=True)
    new_users = models.IntegerField()
    orders = models.IntegerField()
    revenue_cents = models.IntegerField()


class Supplier(models.Model):
    """Another system, whose products the bookshop sells."""

    url = models.TextField()
    synced_at = models.DateTimeField(null=True)


class Product(models.Model):
    """A local copy of a supplier's product."""

    supplier = models.ForeignKey(Supplier, models.CASCADE)
    sku = models.TextField()
    name = models.TextField()
    price_cents = models.IntegerField()

    class Meta:
        """A supplier has each product once."""

        constraints = (models.UniqueConstraint(fields=["supplier", "sku"], name="product_once"),)


class Newsletter(models.Model):
    """A mail to all users."""

    subject = models.TextField()
    text = models.TextField()
