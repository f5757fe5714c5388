"""SMTP: connections, conversations and replies."""
