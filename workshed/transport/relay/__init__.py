"""The relay: hands over to RabbitMQ what is due, and keeps order."""
