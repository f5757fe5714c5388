"""The numbers of a day."""

from datetime import UTC, date, datetime, time, timedelta

from django.db.models import Count, Sum

from store.models import DailyReport, Order, User


def create(day: date) -> DailyReport:
    """Count the users and orders of a day, in UTC; a report of that day is replaced."""
    start = datetime.combine(day, time(), UTC)
    within = {"created_at__gte": start, "created_at__lt": start + timedelta(days=1)}
    orders = Order.objects.filter(**within).aggregate(count=Count("id"), sum=Sum("total_cents"))
    numbers = {
        "new_users": User.objects.filter(**within).count(),
        "orders": orders["count"],
        "revenue_cents": orders["sum"] or 0,
    }
    report, _ = DailyReport.objects.update_or_create(day=day, defaults=numbers)
    return report
