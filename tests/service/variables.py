"""Environment variables of Workshed's and the service's settings."""

from shop.settings import ShopSettings
from tests import variables
from workshed.settings import Settings
from workshed.settings_classes import get_prefix, list_defaults

SHOP = get_prefix(ShopSettings)
KINDS = (Settings, ShopSettings)
NAMES = {get_prefix(kind) + name.upper() for kind in KINDS for name in list_defaults(kind)}


def variable(name):
    """Return the variable of a setting, in whichever case it is written."""
    if name.lower() in ShopSettings.model_fields:
        return SHOP + name.upper()
    return variables.variable(name)
