"""A client for the parts of RabbitMQ's management API that the commands use.

`WORKSHED_MANAGEMENT_URL` is `http://…`, or with TLS
`https://user:password@host:15671?cacertfile=/etc/ca.pem`, with the parameter names of
`WORKSHED_BROKER_URL`.
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
TIMEOUT_S = 4.0  # for one answer
FORBIDDEN = (401, 403)


class ManagementApi:
    """One virtual host, through the API at `WORKSHED_MANAGEMENT_URL`."""

    def __init__(
        self, url: str, vhost: str, timeout_s: float = TIMEOUT_S, prefix: str = ""
    ) -> None:
        """Open no connection; `timeout_s`: timeout for one answer, in seconds.

        `prefix`: prefix of the queue names. Results use names without it, and leave out queues that
        lack it.

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
        self._host_port = parts.hostname, port or (TLS_PORT if self._tls else PORT)
        self._date: str | None = None
        self._root = parts.path.rstrip("/")
        login = f"{self.user}:{unquote(parts.password or 'guest')}"
        self._login = b64encode(login.encode()).decode()

    @property
    def address(self) -> str:
        """Its address, without the password, and the CA that its certificate is checked against."""
        authority = f" ({tls.ca_description(self._options)})" if self._tls else ""
        return f"{self._host_port[0]}:{self._host_port[1]}{authority}"

    def queue_page_url(self, queue: str) -> str:
        """Return the address of a queue in RabbitMQ's own UI, which has its own login."""
        host, port = self._host_port
        place = f"[{host}]" if ":" in host else host
        scheme = "https" if self._tls else "http"
        name = quote(self.prefix + queue, "")
        return f"{scheme}://{place}:{port}{self._root}/#/queues/{self._vhost}/{name}"

    def overview(self) -> dict[str, Any]:
        """Return the cluster's name and version, among other things."""
        found: dict[str, Any] = self.get("overview")
        return found

    def queues(self) -> dict[str, dict[str, Any]]:
        """Return all queues by name: their kind, their arguments, and current counts."""
        # Without these parameters, the counts are those of the last sample, up to 5 s old.
        live = "disable_stats=true&enable_queue_totals=true"
        return {
            queue["name"].removeprefix(self.prefix): queue
            for queue in self.get(f"queues/{self._vhost}?{live}")
            if queue["name"].startswith(self.prefix)
        }

    def consumers(self, queue: str) -> list[str]:
        """Return the consumer tags of a queue; a new consumer appears after some seconds."""
        found = self.get(f"queues/{self._vhost}/{quote(self.prefix + queue, '')}")
        return [one["consumer_tag"] for one in found.get("consumer_details", [])]

    def bindings(self, exchange: str) -> set[tuple[str, str]]:
        """Return the queues that are bound to an exchange, each with its routing key."""
        found = self.get(f"exchanges/{self._vhost}/{quote(exchange, '')}/bindings/source")
        pairs = [(one["destination"], one["routing_key"]) for one in found]
        return {
            (name.removeprefix(self.prefix), key.removeprefix(self.prefix))
            for name, key in pairs
            if name.startswith(self.prefix) and key.startswith(self.prefix)
        }

    def permissions(self, user: str) -> dict[str, str]:
        """Return a user's patterns for `configure`, `write` and `read`; only for administrators."""
        found: dict[str, str] = self.get(f"permissions/{self._vhost}/{quote(user, '')}")
        return found

    def alarms(self) -> str | None:
        """Return RabbitMQ's alarms as text; `None` if there is none."""
        status, text = self._request("health/checks/alarms")
        if status == http.client.OK:
            return None
        if status != http.client.SERVICE_UNAVAILABLE:
            raise self._status_error("health/checks/alarms", status, text)
        answer = json.loads(text)
        kinds = sorted({str(alarm.get("resource")) for alarm in answer.get("alarms", [])})
        return f"{answer.get('reason')}: {', '.join(kinds)}"

    def clock(self) -> datetime | None:
        """Return the time on its host, to the second, if it sends a `Date` header."""
        self.get("whoami")
        return None if self._date is None else parsedate_to_datetime(self._date)

    def get(self, path: str) -> Any:
        """Return the JSON of one answer."""
        status, text = self._request(path)
        if status != http.client.OK:
            raise self._status_error(path, status, text)
        try:
            return json.loads(text)
        except ValueError:
            raise ManagementError(f"{self.address} is not RabbitMQ's management API") from None

    def _request(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*self._host_port, timeout=self._timeout_s)
        with contextlib.closing(connection):
            try:
                connection.connect()
                if self._tls:
                    # `HTTPSConnection` would only ever check for the host in the URL.
                    name = self._options.get("server_name_indication", self._host_port[0])
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
                    f"({SETTING}): {self._describe_error(err)}"
                ) from None

    def _describe_error(self, error: Exception) -> str:
        if isinstance(error, http.client.BadStatusLine) and not isinstance(error, OSError):
            # The error itself contains the raw answer: with TLS, bytes unfit for a terminal.
            return f"its answer is not HTTP{'' if self._tls else '; for TLS, use https://'}"
        return describe_error(error)

    @cached_property
    def _context(self) -> ssl.SSLContext:
        # Built on first use, because loading the system's CAs takes 30 ms, and links need none.
        try:
            return tls.tls_context(self._options, SETTING)
        except SettingsError as err:
            raise ManagementError(str(err)) from None

    def _status_error(self, path: str, status: int, text: bytes) -> ManagementError:
        if status in FORBIDDEN:
            return ManagementError(
                f"the management API at {self.address} refuses user {self.user!r} for {path}: the "
                "user needs the right password, the tag `management`, and access to virtual host "
                f"{self.vhost!r}"
            )
        return ManagementError(f"{path} at {self.address}: {status} {text[:200]!r}")

    @property
    def _vhost(self) -> str:
        return quote(self.vhost, "")
