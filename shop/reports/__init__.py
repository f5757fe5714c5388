"""The report of a business day: computed once, stored, and emailed to the active admins."""

from shop.reports.attachments import store_attachments
from shop.reports.csv_table import render_csv
from shop.reports.errors import DayRefusedError
from shop.reports.mail import store_mails as store_mails
from shop.reports.numbers import ProductSales, ReportNumbers, Sales
from shop.reports.requested_day import resolve_day
from shop.reports.retention import prune_reports
from shop.reports.snapshots import StoredReport, find_report, get_or_create, list_reports

__all__ = [
    "DayRefusedError",
    "ProductSales",
    "ReportNumbers",
    "Sales",
    "StoredReport",
    "find_report",
    "get_or_create",
    "list_reports",
    "prune_reports",
    "render_csv",
    "resolve_day",
    "store_attachments",
    "store_mails",
]
