"""The service alone, whatever the shell of the developer sets for it."""

from tests.service.variables import SHOP
from tests.variables import taken_away

taken_away(SHOP)
