"""A small shop, for the demo and the tests: whoever signs up may import people and run reports."""

from shop.demo.shop.app import create_app

__all__ = ["create_app"]
