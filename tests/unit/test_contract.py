"""Messages in flight name these; to rename one, keep the old name until the queues drain."""

import inspect

from actors import (
    cleanup_old_reports,
    daily_report,
    deliver_email,
    maintain,
    process_image,
    send_onboarding_reminder,
    send_welcome_email,
)

ACTORS = (
    cleanup_old_reports,
    daily_report,
    deliver_email,
    maintain,
    process_image,
    send_onboarding_reminder,
    send_welcome_email,
)
CONTRACT = {
    "cleanup_old_reports": ("low", []),
    "daily_report": ("scheduled", ["date"]),
    "deliver_email": ("emails", ["email_id"]),
    "maintain": ("low", []),
    "process_image": ("images", ["attachment_id", "width", "height", "quality"]),
    "send_onboarding_reminder": ("default", ["user_id"]),
    "send_welcome_email": ("default", ["user_id"]),
}


def test_wire_names_are_pinned():
    declared = {
        actor.actor_name: (actor.queue_name, list(inspect.signature(actor.fn).parameters))
        for actor in ACTORS
    }

    assert declared == CONTRACT


def test_every_actor_says_what_a_copy_and_a_crash_do():
    for actor in ACTORS:
        assert "Twice: " in actor.fn.__doc__
        assert "Half-way: " in actor.fn.__doc__
        assert actor.options["time_limit"]
