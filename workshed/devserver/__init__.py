"""Private PostgreSQL, RabbitMQ and mail servers, for development, the demo and the tests.

with DevServers(fresh=True) as servers:
    subprocess.run([…], env=os.environ | servers.environment())
"""

from workshed.devserver.errors import NotInstalledError, ServerError
from workshed.devserver.stack import ALL_KINDS, DevServers

__all__ = ["ALL_KINDS", "DevServers", "NotInstalledError", "ServerError"]
