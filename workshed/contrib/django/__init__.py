"""Workshed in a Django project: `INSTALLED_APPS += ["workshed.contrib.django"]`."""

from workshed.extras import require_modules

require_modules("django", "django")
