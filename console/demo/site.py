"""What people of the demo see in a browser: their pictures, and the page where they unsubscribe."""

from starlette.applications import Starlette
from starlette.routing import Mount

from console.web import pictures, unsubscribing

app = Starlette(
    routes=[Mount("/unsubscribe", unsubscribing.create_app()), Mount("/", pictures.create_app())]
)
