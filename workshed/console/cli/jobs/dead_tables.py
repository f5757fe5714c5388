"""Tables of dead jobs: one by one, by error class, and those that only RabbitMQ holds."""

from workshed.console.cli.terminal import output
from workshed.console.formatting import format_ago
from workshed.console.operations.dead_jobs import as_data, death_reason
from workshed.console.operations.environment import list_queue_names, open_queue_server
from workshed.console.operations.message_body import body_as_call
from workshed.console.operations.redaction import redact_rows
from workshed.database.postgres import Connection, database_now
from workshed.errors import WorkshedError
from workshed.jobs.dead import dead_jobs
from workshed.jobs.dead.dead_jobs import DeadFilter


def print_dead(conn: Connection, dead_filter: DeadFilter, limit: int, *, as_json: bool) -> None:
    """Print the latest `limit` dead jobs that match."""
    found = redact_rows(conn, dead_jobs.list_dead_jobs(conn, dead_filter, limit=limit))
    now = database_now(conn)
    if as_json:
        output.print_json([as_data(row) for row in found])
    elif found:
        lines = [
            (
                row.message_id,
                f"{body_as_call(row.actor, row.body)}\n{death_reason(row)}",
                format_ago(row.died_at, now),
            )
            for row in found
        ]
        output.print_table(("message id", "job", "died"), lines, elastic=1)


def print_groups(conn: Connection, dead_filter: DeadFilter, *, as_json: bool) -> None:
    """Print the number of dead jobs per error class."""
    found, now = dead_jobs.group_by_error(conn, dead_filter), database_now(conn)
    if as_json:
        output.print_json(found)
    elif found:
        lines = [
            (one.error_class, one.count, ", ".join(one.actors), format_ago(one.last_at, now))
            for one in found
        ]
        output.print_table(("error", "jobs", "actors", "latest"), lines, elastic=2)


def warn_dead_queues(conn: Connection) -> None:
    """Report messages in dead queues on RabbitMQ: their outcome could not be stored."""
    try:
        found = open_queue_server().count_dead_messages(list_queue_names(conn))
    except WorkshedError as err:
        output.print_message(f"RabbitMQ's dead queues were not checked: {err}")
        return
    for name, count in found.items():
        output.print_message(
            f"{name}.dead on RabbitMQ holds {count}, whose outcome could not be stored. "
            f"To requeue: `workshed dead requeue {name}`."
        )
