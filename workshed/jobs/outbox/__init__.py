"""Messages that PostgreSQL keeps until RabbitMQ has them."""
