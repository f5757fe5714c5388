"""The outbox: messages that PostgreSQL keeps until RabbitMQ has them."""
