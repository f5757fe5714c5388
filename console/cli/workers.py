"""`workshed workers`: the processes that run jobs."""

from dataclasses import asdict

from console.cli.options import Json


def workers(*, as_json: Json = False) -> None:
    """List the worker processes of all hosts, by their heartbeat.

    One that has not beaten for 10 s is silent: it was killed, or does not reach PostgreSQL. It is
    listed for another hour.
    """
    from console.cli import output
    from console.program import database
    from console.words import ago, in_words
    from workshed.jobs import workers as rows
    from workshed.jobs.windows import clock

    with database() as conn:
        found = rows.find(conn)
        now = clock(conn)
    if as_json:
        output.print_json([asdict(one) for one in found])
    elif found:
        lines = [
            (
                f"{one.host} {one.pid}\n{one.release or '-'}",
                f"{one.busy}/{one.threads}",
                in_words(now - one.started_at),
                ago(one.beat_at, now) if one.alive else f"silent, {ago(one.beat_at, now)}",
                ", ".join(one.queues),
            )
            for one in found
        ]
        output.table(("worker", "busy", "up", "last beat", "queues"), lines, elastic=4)
    else:
        output.talk("No worker beats: run `workshed worker`, or `dramatiq actors`.")
