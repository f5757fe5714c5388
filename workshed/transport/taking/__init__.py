"""Taking jobs from PostgreSQL, for workers without RabbitMQ."""
