"""What can be sent: one module per job family, thin actors only."""

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
    "deliver_email",
    "maintain",
    "send_onboarding_reminder",
    "send_welcome_email",
    "sign_up",
    "unsubscribe",
]
