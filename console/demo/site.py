"""What people of the demo see in a browser: the shop, their pictures, and the page to unsubscribe.

To be served on loopback only: whoever signs up may do all that the shop has.
"""

from starlette.applications import Starlette
from starlette.routing import Mount

from console.web import pictures, shop, unsubscribing

app = Starlette(
    routes=[
        Mount("/unsubscribe", unsubscribing.create_app()),
        Mount("/pictures", pictures.create_app(cookie_path="/")),  # of the shop, too
        Mount("/", shop.create_app()),
    ]
)
