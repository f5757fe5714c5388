"""Messages in flight name these; to rename one, keep the old name until the queues drain."""

import inspect

import dramatiq

import actors

ACTORS = [one for one in vars(actors).values() if isinstance(one, dramatiq.Actor)]
CONTRACT = {
    "check_import_completion": ("low", ["import_id", "looks", "steps"]),
    "cleanup_old_reports": ("low", []),
    "daily_report": ("scheduled", ["date"]),
    "deliver_email": ("emails", ["email_id"]),
    "end_campaign_batch": ("bulk", ["campaign_id"]),
    "end_import_rows": ("imports", ["message", "reason"]),
    "fail_import": ("imports", ["message", "reason"]),
    "go_on_with_campaign": ("bulk", ["campaign_id"]),
    "import_user_rows": ("imports", ["import_id", "first", "count"]),
    "import_users": ("imports", ["import_id"]),
    "maintain": ("low", []),
    "process_image": ("images", ["attachment_id", "width", "height", "quality"]),
    "send_bulk_email": ("bulk", ["campaign_id", "after"]),
    "send_campaign_email": ("emails", ["campaign_id", "user_id"]),
    "send_onboarding_reminder": ("default", ["user_id"]),
    "send_welcome_email": ("default", ["user_id"]),
    "start_syncs": ("critical", []),
    "sync_critical_data": ("critical", ["source", "cursor"]),
    "sync_record": ("critical", ["source", "external_id"]),
    "tell_of_dead_sync": ("critical", ["message", "reason"]),
}


def test_wire_names_are_pinned():
    declared = {
        actor.actor_name: (actor.queue_name, list(inspect.signature(actor.fn).parameters))
        for actor in ACTORS
    }

    assert declared == CONTRACT


def test_every_actor_documents_copies_and_crashes():
    for actor in ACTORS:
        assert "Idempotent: " in actor.fn.__doc__.replace("\n", " ")
        assert "On crash: " in actor.fn.__doc__.replace("\n", " ")
        assert actor.options["time_limit"]
