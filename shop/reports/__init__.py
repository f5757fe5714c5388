"""The report of a business day: computed once, stored, and emailed to the active admins."""

from shop.reports.asked import asked
from shop.reports.errors import DayRefusedError
from shop.reports.files import of as files_of
from shop.reports.keeping import prune
from shop.reports.mail import store as store_mails
from shop.reports.numbers import Product, ReportNumbers, Sales
from shop.reports.snapshots import StoredReport, every, find, of
from shop.reports.table import written as as_csv

__all__ = [
    "DayRefusedError",
    "Product",
    "ReportNumbers",
    "Sales",
    "StoredReport",
    "as_csv",
    "asked",
    "every",
    "files_of",
    "find",
    "of",
    "prune",
    "store_mails",
]
