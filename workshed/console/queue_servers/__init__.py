"""The server that has the queues, as operators see it: RabbitMQ, or PostgreSQL alone."""
