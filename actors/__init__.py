"""The jobs of the service: one module per job family, with thin actors only."""

from actors.campaigns import (
    cancel_campaign,
    end_campaign_batch,
    go_on_with_campaign,
    resume_campaign,
    send_bulk_email,
    send_campaign_email,
    send_test_email,
    start_campaign,
)
from actors.images import attach_image, process_image, replace_image
from actors.imports import (
    check_import_completion,
    end_import_rows,
    fail_import,
    import_user_rows,
    import_users,
    start_import,
)
from actors.mail import deliver_email
from actors.maintenance import maintain
from actors.people import (
    activate_user,
    send_onboarding_reminder,
    send_welcome_email,
    sign_up,
    unsubscribe_user,
)
from actors.reports import cleanup_old_reports, daily_report
from actors.sync import start_syncs, sync_critical_data, sync_record, tell_of_dead_sync

__all__ = [
    "activate_user",
    "attach_image",
    "cancel_campaign",
    "check_import_completion",
    "cleanup_old_reports",
    "daily_report",
    "deliver_email",
    "end_campaign_batch",
    "end_import_rows",
    "fail_import",
    "go_on_with_campaign",
    "import_user_rows",
    "import_users",
    "maintain",
    "process_image",
    "replace_image",
    "resume_campaign",
    "send_bulk_email",
    "send_campaign_email",
    "send_onboarding_reminder",
    "send_test_email",
    "send_welcome_email",
    "sign_up",
    "start_campaign",
    "start_import",
    "start_syncs",
    "sync_critical_data",
    "sync_record",
    "tell_of_dead_sync",
    "unsubscribe_user",
]
