"""The processes alongside the workers of a `dramatiq` master."""
