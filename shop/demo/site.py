"""What people of the demo see in a browser, and the console of those who operate it.

The shop is for customers, with their pictures, and the page to unsubscribe.
To be served on loopback only: anyone who signs up may do all that the shop has.
"""

from starlette.applications import Starlette
from starlette.routing import Mount

from shop.demo import shop
from shop.web import pictures, unsubscribe
from workshed.console import web as console
from workshed.settings import settings


def create_app() -> Starlette:
    """Make the site; the console is a part of it where somebody may use it."""
    routes = [
        Mount("/unsubscribe", unsubscribe.create_app()),
        Mount("/pictures", pictures.create_app(cookie_path="/")),  # of the shop, too
        Mount("/", shop.create_app()),
    ]
    if settings().console_users.get_secret_value():
        routes.insert(0, Mount("/console", console.create_app()))
    return Starlette(routes=routes)
