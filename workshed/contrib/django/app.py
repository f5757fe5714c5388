"""The `App` of a Django project that has none of its own."""

from workshed.app import App
from workshed.contrib.django.priorities import LEVELS
from workshed.queues import Queue

app = App(queues=(Queue("default", levels=LEVELS),), actors=("workshed.contrib.django.setup",))
