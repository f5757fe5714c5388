"""The page as a program mounts it, on a free port: `python -m …`."""

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from console.web import unsubscribing

if __name__ == "__main__":
    routes = [Mount("/unsubscribe", unsubscribing.create_app())]
    uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=0)
