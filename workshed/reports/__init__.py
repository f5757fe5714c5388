"""The report of a business day: computed once, stored, and mailed to the active admins."""

from workshed.reports.asked import asked
from workshed.reports.errors import DayRefusedError
from workshed.reports.files import of as files_of
from workshed.reports.keeping import prune
from workshed.reports.mail import store as store_mails
from workshed.reports.numbers import Numbers, Product, Sales
from workshed.reports.snapshots import Report, every, find, of
from workshed.reports.table import written as as_csv

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
