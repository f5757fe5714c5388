"""Private PostgreSQL, RabbitMQ and mail servers, for development, the demo and the tests."""
