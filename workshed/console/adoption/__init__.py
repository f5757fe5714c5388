"""Take over the messages of a deployment of stock dramatiq."""
