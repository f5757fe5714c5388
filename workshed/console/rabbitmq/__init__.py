"""Access to RabbitMQ for operators: AMQP and the management API."""
