"""The demo's web site: the shop, pictures, the unsubscribe page, and the operators' console.

Serve it on loopback only, because anyone who signs up may use every feature of the shop.
"""

from starlette.applications import Starlette
from starlette.routing import Mount

from shop.demo import shop
from shop.web import pictures, unsubscribe
from workshed.console import web as console
from workshed.settings import settings


def create_app() -> Starlette:
    """Make the site; it includes the console if console users are configured."""
    routes = [
        Mount("/unsubscribe", unsubscribe.create_app()),
        Mount("/pictures", pictures.create_app(cookie_path="/")),  # the shop needs the cookie, too
        Mount("/", shop.create_app()),
    ]
    if settings().console_users.get_secret_value():
        routes.insert(0, Mount("/console", console.create_app()))
    return Starlette(routes=routes)
