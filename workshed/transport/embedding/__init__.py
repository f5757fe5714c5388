"""Workers inside the processes of a web server."""
