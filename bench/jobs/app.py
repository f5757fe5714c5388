"""An application that adds nothing to Workshed, to measure only that."""

from workshed import App

app = App()
