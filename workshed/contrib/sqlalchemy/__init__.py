"""Sessions of SQLAlchemy in the transaction of a job, and engines that survive a failover."""

from workshed.extras import require_extra

with require_extra("sqlalchemy"):
    from workshed.contrib.sqlalchemy.async_sessions import async_job_session
    from workshed.contrib.sqlalchemy.engines import watch_engine
    from workshed.contrib.sqlalchemy.sessions import job_session, session_on

__all__ = ["async_job_session", "job_session", "session_on", "watch_engine"]
