"""RabbitMQ's management API, as far as the commands ask it.

A URL of `WORKSHED_MANAGEMENT_URL` is `http://…`, or with TLS
`https://user:password@host:15671?cacertfile=/etc/ca.pem`, with the names of `WORKSHED_BROKER_URL`.
"""

import contextlib
import http.client
import json
import ssl
from base64 import b64encode
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from workshed.console.errors import ManagementError
from workshed.errors import SettingsError
from workshed.transport.amqp import tls
from workshed.transport.amqp.url import describe_error

SETTING = "WORKSHED_MANAGEMENT_URL"
PORT = 15672
TLS_PORT = 15671
TIMEOUT_S = 4.0  # seconds for one answer
FORBIDDEN = (401, 403)


class Management:
    """One virtual host, through the API at `WORKSHED_MANAGEMENT_URL`."""

    def __init__(
        self, url: str, vhost: str, timeout_s: float = TIMEOUT_S, prefix: str = ""
    ) -> None:
        """Open nothing; `timeout_s`: for one answer, in seconds.

        `prefix`: before the names of our queues. It answers by the names without it, and of no
        others.

        Raises `ManagementError` for a URL that cannot be read.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ManagementError(f"{SETTING}: its port cannot be read") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ManagementError(f"{SETTING} must be like http://user:password@127.0.0.1:15672")
        try:
            self._options = tls.tls_options(parts, SETTING)
        except SettingsError as err:
            raise ManagementError(str(err)) from None
        self.vhost = vhost
        self.prefix = prefix
        self._timeout_s = timeout_s
        self.user = unquote(parts.username or "guest")
        self._tls = parts.scheme == "https"
        self._at = parts.hostname, port or (TLS_PORT if self._tls else PORT)
        self._date: str | None = None
        self._root = parts.path.rstrip("/")
        login = f"{self.user}:{unquote(parts.password or 'guest')}"
        self._login = b64encode(login.encode()).decode()

    @property
    def address(self) -> str:
        """Where it is, without the password, and by which authority its certificate is judged."""
        authority = f" ({tls.ca_description(self._options)})" if self._tls else ""
        return f"{self._at[0]}:{self._at[1]}{authority}"

    def page(self, queue: str) -> str:
        """Return where RabbitMQ's own UI shows a queue; who follows it logs in there."""
        host, port = self._at
        place = f"[{host}]" if ":" in host else host
        scheme = "https" if self._tls else "http"
        name = quote(self.prefix + queue, "")
        return f"{scheme}://{place}:{port}{self._root}/#/queues/{self._vhost}/{name}"

    def overview(self) -> dict[str, Any]:
        """Return the cluster's name and version, among other things."""
        found: dict[str, Any] = self.get("overview")
        return found

    def queues(self) -> dict[str, dict[str, Any]]:
        """Return all queues by name: their kind, their arguments, and counts as they are now."""
        # Without these the counts are those of the last sample, up to 5 s ago.
        live = "disable_stats=true&enable_queue_totals=true"
        return {
            queue["name"].removeprefix(self.prefix): queue
            for queue in self.get(f"queues/{self._vhost}?{live}")
            if queue["name"].startswith(self.prefix)
        }

    def consumers(self, queue: str) -> list[str]:
        """Return the tags of the consumers of a queue; a new one is there after some seconds."""
        found = self.get(f"queues/{self._vhost}/{quote(self.prefix + queue, '')}")
        return [one["consumer_tag"] for one in found.get("consumer_details", [])]

    def bindings(self, exchange: str) -> set[tuple[str, str]]:
        """Return our queues that are bound to an exchange, each with its routing key."""
        found = self.get(f"exchanges/{self._vhost}/{quote(exchange, '')}/bindings/source")
        pairs = [(one["destination"], one["routing_key"]) for one in found]
        return {
            (name.removeprefix(self.prefix), key.removeprefix(self.prefix))
            for name, key in pairs
            if name.startswith(self.prefix) and key.startswith(self.prefix)
        }

    def permissions(self, user: str) -> dict[str, str]:
        """Return a user's patterns for `configure`, `write`, `read`; asked by an administrator."""
        found: dict[str, str] = self.get(f"permissions/{self._vhost}/{quote(user, '')}")
        return found

    def alarms(self) -> str | None:
        """Return what RabbitMQ says of its alarms; `None` when there is none."""
        status, text = self._ask("health/checks/alarms")
        if status == http.client.OK:
            return None
        if status != http.client.SERVICE_UNAVAILABLE:
            raise self._refused("health/checks/alarms", status, text)
        answer = json.loads(text)
        kinds = sorted({str(alarm.get("resource")) for alarm in answer.get("alarms", [])})
        return f"{answer.get('reason')}: {', '.join(kinds)}"

    def clock(self) -> datetime | None:
        """Return the time of its host, to the second, if it says so."""
        self.get("whoami")
        return None if self._date is None else parsedate_to_datetime(self._date)

    def get(self, path: str) -> Any:
        """Return the JSON of one answer."""
        status, text = self._ask(path)
        if status != http.client.OK:
            raise self._refused(path, status, text)
        try:
            return json.loads(text)
        except ValueError:
            raise ManagementError(f"{self.address} is no management API of RabbitMQ") from None

    def _ask(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*self._at, timeout=self._timeout_s)
        with contextlib.closing(connection):
            try:
                connection.connect()
                if self._tls:
                    # `HTTPSConnection` would ask for the name of the host alone.
                    name = self._options.get("server_name_indication", self._at[0])
                    connection.sock = self._context.wrap_socket(
                        connection.sock, server_hostname=name
                    )
                headers = {"Authorization": f"Basic {self._login}"}
                connection.request("GET", f"{self._root}/api/{path}", headers=headers)
                answer = connection.getresponse()
                self._date = answer.getheader("Date")
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException) as err:
                raise ManagementError(
                    f"RabbitMQ's management API does not answer at {self.address} "
                    f"({SETTING}): {self._trouble(err)}"
                ) from None

    def _trouble(self, error: Exception) -> str:
        if isinstance(error, http.client.BadStatusLine) and not isinstance(error, OSError):
            # Its own words are whatever the other side has said: of TLS, bytes for no terminal.
            return f"its answer is no HTTP{'' if self._tls else '; where TLS is, write https://'}"
        return describe_error(error)

    @cached_property
    def _context(self) -> ssl.SSLContext:
        # Only when it is needed: to load the CAs of the system takes 30 ms, to link to a page none.
        try:
            return tls.tls_context(self._options, SETTING)
        except SettingsError as err:
            raise ManagementError(str(err)) from None

    def _refused(self, path: str, status: int, text: bytes) -> ManagementError:
        if status in FORBIDDEN:
            return ManagementError(
                f"the management API at {self.address} refuses user {self.user!r} for {path}: it "
                "needs the password, the tag `management`, and access to the virtual host "
                f"{self.vhost!r}"
            )
        return ManagementError(f"{path} at {self.address}: {status} {text[:200]!r}")

    @property
    def _vhost(self) -> str:
        return quote(self.vhost, "")
