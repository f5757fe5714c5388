"""The numbers of a day."""

from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bookshop.models import DailyReport, Order, User


def create(session: Session, day: date) -> DailyReport:
    """Count the users and orders of a day, in UTC; a report of that day is replaced."""
    start = datetime.combine(day, time(), UTC)
    end = start + timedelta(days=1)
    users = select(func.count()).where(User.created_at >= start, User.created_at < end)
    orders = select(func.count(), func.coalesce(func.sum(Order.total_cents), 0)).where(
        Order.created_at >= start, Order.created_at < end
    )
    count, revenue = session.execute(orders).one()
    new_users = session.scalar(users) or 0
    report = DailyReport(day=day, new_users=new_users, orders=count, revenue_cents=revenue)
    return session.merge(report)
