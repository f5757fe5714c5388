"""What operators ask RabbitMQ."""
