"""A small web shop for the demo and the tests: each user may import people and run reports."""

from shop.demo.shop.app import create_app

__all__ = ["create_app"]
