"""AMQP: connections, declarations, and what RabbitMQ answers."""
