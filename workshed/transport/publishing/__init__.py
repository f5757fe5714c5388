"""From a message to a confirm of RabbitMQ."""
