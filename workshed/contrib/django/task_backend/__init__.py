"""The backend of Workshed for `django.tasks`, which Django has from 6.0 on."""

from importlib.util import find_spec

from workshed.contrib.django.errors import OldDjangoError

if not find_spec("django.tasks"):
    raise OldDjangoError
