"""`python -m shop.demo`: sign people up, and watch what becomes of each."""
