"""AMQP: connections, declarations, and RabbitMQ's replies."""
