"""The report of a business day: computed once, stored, and mailed to the active admins."""

from shop.reports.asked import asked
from shop.reports.errors import DayRefusedError
from shop.reports.files import of as files_of
from shop.reports.keeping import prune
from shop.reports.mail import store as store_mails
from shop.reports.numbers import Numbers, Product, Sales
from shop.reports.snapshots import Report, every, find, of
from shop.reports.table import written as as_csv

__all__ = [
    "DayRefusedError",
    "Numbers",
    "Product",
    "Report",
    "Sales",
    "as_csv",
    "asked",
    "every",
    "files_of",
    "find",
    "of",
    "prune",
    "store_mails",
]
