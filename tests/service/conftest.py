"""Settings of the service, independent of the developer's shell."""

from tests.service.variables import SHOP
from tests.variables import taken_away

taken_away(SHOP)
