"""The `App` of a Django project that has none of its own."""

from workshed.app import App

app = App(actors=("workshed.contrib.django.setup",))
