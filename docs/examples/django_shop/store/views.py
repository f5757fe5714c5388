"""The web application. Each request is one transaction, and so are the jobs that it sends.

By `ATOMIC_REQUESTS`, a plain `send()` is part of that transaction. Authentication is left out.
"""

import json
from dataclasses import asdict

from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from store import files, jobs
from store.models import Import, Newsletter, Photo, User
from workshed import db
from workshed.contrib import notifications

AT_ONCE = 100
"""Notifications that are returned at once."""


@csrf_exempt
@require_POST
def sign_up(request: HttpRequest) -> JsonResponse:
    """Create a user, who is welcomed if the transaction commits."""
    form = json.loads(request.body)
    user = User.objects.create(name=form["name"], email=form["email"])
    jobs.send_welcome_email.send(user.id)
    return JsonResponse({"id": user.id}, status=201)


@csrf_exempt
@require_POST
def upload_photo(request: HttpRequest, user_id: int) -> JsonResponse:
    """Store a photo, of which a thumbnail is made."""
    photo = Photo.objects.create(user_id=user_id, original_id=files.keep(request.body))
    jobs.make_thumbnail.send(photo.id)
    return JsonResponse({"id": photo.id}, status=202)


def list_notifications(request: HttpRequest, user_id: int) -> JsonResponse:
    """Return the notifications of a user after a number."""
    after = int(request.GET.get("after", 0))
    with db.transaction() as conn:
        found = notifications.after(conn, f"{user_id}", after, AT_ONCE)
    return JsonResponse([asdict(notification) for notification in found], safe=False)


@csrf_exempt
@require_POST
def upload_users(request: HttpRequest, user_id: int) -> JsonResponse:
    """Store a CSV file, from which users are created."""
    job = Import.objects.create(owner_id=user_id, file_id=files.keep(request.body))
    jobs.import_users.send(job.id)
    return JsonResponse({"id": job.id}, status=202)


@csrf_exempt
@require_POST
def publish_newsletter(request: HttpRequest) -> JsonResponse:
    """Send a newsletter to all users."""
    letter = json.loads(request.body)
    newsletter = Newsletter.objects.create(subject=letter["subject"], text=letter["text"])
    jobs.send_newsletter.send(newsletter.id)
    return JsonResponse({"id": newsletter.id}, status=202)
