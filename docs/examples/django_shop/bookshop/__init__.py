"""A bookshop with Django, and its jobs."""
