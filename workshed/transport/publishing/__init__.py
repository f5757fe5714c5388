"""Publishing: from a message to RabbitMQ's confirm."""
