"""What transactions on PostgreSQL are made of: connections, their pool, and how long they wait."""
