"""Check RabbitMQ: reachable, supported version, accepting messages; and its management API."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit

import pika

from workshed.console.doctor import probe
from workshed.console.doctor.context import CONNECT_S, DoctorContext
from workshed.console.doctor.encryption import AMQPS
from workshed.console.errors import ManagementError
from workshed.console.operations import problems as troubles
from workshed.console.operations.finding import (
    LARGEST_SKEW,
    Finding,
    clock_skew,
    failed,
    ok,
    unchecked,
    warning,
)
from workshed.console.rabbitmq.management_api import PORT, TLS_PORT
from workshed.transport.amqp import tls, topology
from workshed.transport.amqp import url as address
from workshed.transport.amqp.arguments import OLDEST_VERSION
from workshed.transport.build import STUB_URL

START = "start it, or export WORKSHED_BROKER_URL=amqp://user:password@host:5672/vhost"


def check_reachable(here: DoctorContext) -> Iterator[Finding]:
    """Connect to each server."""
    if STUB_URL in here.urls:
        yield failed("stub:// only records sends: nothing is sent", START)
        return
    troubles = [find_connect_error(url, CONNECT_S / len(here.urls)) for url in here.urls]
    for url, said in zip(here.urls, troubles, strict=True):
        place = address.display_address(url)
        if said is None:
            yield ok(f"answers at {place}")
        elif all(troubles):
            fix = f"start it, or {AMQPS}" if url.startswith("amqps:") else START
            yield failed(f"RabbitMQ does not answer at {place}: {said}", fix)
        else:
            others = "start it; the other servers are used meanwhile"
            yield warning(f"does not answer at {place}: {said}", others)


def find_connect_error(url: str, timeout_s: float) -> str | None:
    """Return why one server does not answer."""
    wanted = address.connection_parameters(url, "doctor")
    wanted.socket_timeout = wanted.stack_timeout = timeout_s
    try:
        pika.BlockingConnection(wanted).close()
    except topology.CONNECT_ERRORS as err:
        return address.describe_error(err)
    return None


def check_version(here: DoctorContext) -> Iterator[Finding]:
    """Check its version."""
    with topology.open_connection(here.urls) as connection:
        found = topology.server_version(connection)
    said = f"RabbitMQ {found[0]}.{found[1]}"
    if found < OLDEST_VERSION:
        yield failed(f"{said}: 4.0 or newer is needed", "upgrade RabbitMQ to 4.0 or newer")
    else:
        yield ok(said)


def check_management(here: DoctorContext) -> Iterator[Finding]:
    """Log in to the management API."""
    line = f"export WORKSHED_MANAGEMENT_URL={suggest_management_url(here)}"
    try:
        api = here.management()
        if api is None:
            yield unchecked("the management API is not configured", line)
            return
        api.overview()
        api.queues()
        clock = api.clock()
    except ManagementError as err:
        yield failed(str(err), line)
    else:
        yield ok(f"the management API answers at {api.address}")
        skew = timedelta() if clock is None else abs(datetime.now(UTC) - clock)
        if skew > LARGEST_SKEW:
            yield clock_skew(skew)


def suggest_management_url(here: DoctorContext) -> str:
    """Return the usual URL of the API; with TLS if RabbitMQ or the API is configured with it."""
    parts, named = urlsplit(here.urls[0]), here.settings.management_url
    place = f"{here.user}:PASSWORD@{parts.hostname}"
    if parts.scheme != "amqps" and not (named and named.get_secret_value().startswith("https:")):
        return f"http://{place}:{PORT}"
    known = [(name, value) for name, value in parse_qsl(parts.query) if name in tls.TLS_PARAMETERS]
    query = urlencode(known, safe="/") if known else "cacertfile=/etc/ca.pem"
    return f"'https://{place}:{TLS_PORT}?{query}'"


def check_alarms(here: DoctorContext) -> Iterator[Finding]:
    """Check whether RabbitMQ accepts messages: by its API, else with a message no queue gets."""
    said = here.query_management(lambda api: api.alarms() or "")
    if said is None:
        answer = probe.probe_publish(here.urls)
        said = answer.reason if answer.kind == "blocked" else ""
    if trouble := troubles.judge_alarms(said):
        yield trouble
    else:
        yield ok("no memory or disk alarm")
