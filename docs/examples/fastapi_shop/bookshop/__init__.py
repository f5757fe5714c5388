"""A bookshop with FastAPI and SQLAlchemy, and its jobs."""
