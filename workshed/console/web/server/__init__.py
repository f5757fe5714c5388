"""The server of `workshed console`: uvicorn, with deadlines and limits for connections."""
