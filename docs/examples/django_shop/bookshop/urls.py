"""The addresses of the web application."""

from django.urls import path

from store import views

urlpatterns = [
    path("users", views.sign_up),
    path("users/<int:user_id>/photos", views.upload_photo),
    path("users/<int:user_id>/notifications", views.list_notifications),
    path("users/<int:user_id>/imports", views.upload_users),
    path("newsletters", views.publish_newsletter),
]
