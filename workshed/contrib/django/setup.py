"""The module of actors of a Django project: importing it loads Django, and the `jobs` of each app.

`dramatiq workshed.contrib.django.setup` runs them, with `DJANGO_SETTINGS_MODULE` set.
"""

import django

django.setup()
