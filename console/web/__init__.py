"""What people see in a browser: ASGI applications, rendered on the server."""
