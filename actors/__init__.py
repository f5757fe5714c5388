"""What can be sent: one module per job family, thin actors only."""

from actors.images import attach_image, process_image, replace_image
from actors.mail import deliver_email
from actors.maintenance import maintain
from actors.people import (
    activate,
    send_onboarding_reminder,
    send_welcome_email,
    sign_up,
    unsubscribe,
)

__all__ = [
    "activate",
    "attach_image",
    "deliver_email",
    "maintain",
    "process_image",
    "replace_image",
    "send_onboarding_reminder",
    "send_welcome_email",
    "sign_up",
    "unsubscribe",
]
