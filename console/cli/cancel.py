"""`workshed scheduled cancel`: jobs that are not to run, or not again."""

from typing import Annotated

import typer

from console.cli.options import DryRun, Ids, Json, Yes

CANCELLED = ("deleted", "will be skipped", "would be cancelled")


def cancel(
    ids: Ids,
    *,
    sent: Annotated[bool, typer.Option("--sent", help="Also those RabbitMQ may have.")] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Let jobs not run: a waiting one is deleted, one on its way skipped when it starts.

    A job that was sent without a delay has no row here. With --sent it is
    noted all the same, and workers skip it; one that runs is not touched.
    """
    from console.cli.asking import agreed
    from console.cli.each import UNKNOWN, each
    from console.program import database
    from console.waiting import get
    from console.words import jobs
    from workshed.jobs import cancels

    with database() as conn:
        known = {each_id for each_id in ids if sent or get(conn, each_id)}
        if known and not dry_run:
            agreed(f"Cancel {jobs(len(known))}", yes=yes)

        def one(message_id: str) -> str:
            if message_id not in known or dry_run:
                return "would be cancelled" if message_id in known else UNKNOWN
            with conn.transaction():
                return cancels.cancel(conn, message_id)

        each(ids, one, good=CANCELLED, as_json=as_json)
