"""`workshed mail`: mail servers in trouble, and mails that may have arrived twice."""

from dataclasses import asdict
from typing import Annotated

from workshed import db
from workshed.console.cli.terminal import output
from workshed.console.cli.terminal.audit import record_action
from workshed.console.cli.terminal.confirm import require_confirmation
from workshed.console.cli.terminal.list_by_default import ListByDefault
from workshed.console.cli.terminal.options import DryRun, Json, Limit, Yes
from workshed.console.cli.terminal.output import print_json
from workshed.console.errors import NotFoundError
from workshed.console.formatting import format_ago, format_due
from workshed.console.operations.environment import import_actors, open_database, require_broker
from workshed.console.text import escape_control
from workshed.contrib.mail import decide_held, list_held, servers
from workshed.contrib.mail.jobs import get_delivery_actor
from workshed.contrib.mail.servers import ServerTrouble
from workshed.contrib.mail.tables import STREAM
from workshed.database.postgres import database_now
from workshed.extras import require_extra
from workshed.transport.errors import did_you_mean

with require_extra("server"):
    import typer


mail = typer.Typer(
    cls=ListByDefault, add_completion=False, help="Mail servers in trouble, and mails in doubt."
)

MOST = 100_000
"""How many held mails are searched."""
MailId = Annotated[int, typer.Argument(metavar="ID", min=1, show_default=False)]


@mail.command("list")
def listed(*, limit: Limit = 100, as_json: Json = False) -> None:
    """List held mails and mail servers in trouble; the same as `workshed mail`.

    A mail is held if it was sent twice and may have arrived each time, because the server closed
    the connection or the worker died before the result was known.
    """
    with open_database(STREAM) as conn:
        troubles, found, now = (
            servers.list_troubles(conn),
            list_held(conn, limit),
            database_now(conn),
        )
    if as_json:
        output.print_json(
            {
                "servers": [asdict(one) for one in troubles],
                "held": [asdict(one) for one in found],
            }
        )
        return
    for one in troubles:
        print(f"{one.name}  {describe_state(one)}\n{escape_control(one.last_error)}")
    if found:
        lines = [
            (one.id, one.kind, one.recipient, format_ago(one.created_at, now), one.last_error or "")
            for one in found
        ]
        output.print_table(("mail", "kind", "to", "stored", "because"), lines, elastic=4)
    elif not troubles:
        output.print_message("The mail server accepts emails, and none is held.")


@mail.command()
def release(
    mail_id: MailId, *, yes: Yes = False, dry_run: DryRun = False, as_json: Json = False
) -> None:
    """Send a held mail once more; its recipient may then have it three times."""
    _decide(mail_id, arrived=False, yes=yes, dry_run=dry_run, as_json=as_json)


@mail.command()
def arrived(
    mail_id: MailId, *, yes: Yes = False, dry_run: DryRun = False, as_json: Json = False
) -> None:
    """Mark a held mail as sent; your application then does what follows a sent mail."""
    _decide(mail_id, arrived=True, yes=yes, dry_run=dry_run, as_json=as_json)


@mail.command("try")
def try_server(
    server: Annotated[str, typer.Argument(metavar="SERVER", show_default=False)],
    *,
    as_json: Json = False,
) -> None:
    """Try a mail server in trouble now, instead of when its pause ends.

    One mail is sent. If it is accepted, the server is used again; if not, the pause starts again.
    """
    with open_database(STREAM) as conn:
        known = [one.name for one in servers.list_troubles(conn)]
        if server not in known:
            hint, there = did_you_mean(server, known), ", ".join(known) or "none"
            raise NotFoundError(f"no mail server {server!r} is in trouble{hint}; there are {there}")
        with conn.transaction():
            freed = servers.end_hold(conn, server)
            said = f"{server} is tried before it is due."
            record_action(conn, "mail.try", {"server": server}, count=int(freed), said=said)
    answer = "is tried again" if freed else "was not held"
    print_json({"server": server, "answer": answer}) if as_json else print(f"{server}  {answer}")


def describe_state(server: ServerTrouble) -> str:
    """Say since when it has failed, and when it is tried again."""
    failing = f"accepts no emails, since {format_ago(server.failing_since, server.now)}"
    if server.circuit_open_until is None or server.circuit_open_until <= server.now:
        return failing
    return f"{failing}; next attempt {format_due(server.circuit_open_until, server.now)}"


def _decide(mail_id: int, *, arrived: bool, yes: bool, dry_run: bool, as_json: bool) -> None:

    require_broker()
    import_actors(())
    get_delivery_actor()
    with open_database(STREAM) as conn:
        known = {one.id: one for one in list_held(conn, MOST)}
        if mail_id not in known:
            raise NotFoundError(f"no mail {mail_id} is held; see `workshed mail`")
        one = known[mail_id]
        if not dry_run:
            verb, how = ("Mark", "as sent") if arrived else ("Send", "once more")
            require_confirmation(f"{verb} {one.subject!r} to {one.recipient} {how}", yes=yes)
            with db.transaction() as own:
                decide_held(own, mail_id, arrived=arrived)
                word = "arrived" if arrived else "release"
                said = f"mail {mail_id} is {'marked as sent' if arrived else 'sent once more'}."
                record_action(own, f"mail.{word}", {"mail": mail_id}, said=said)
    would = "would be" if dry_run else "is"
    answer = f"{would} marked as sent" if arrived else f"{would} sent once more"
    if as_json:
        print_json({"mail_id": mail_id, "answer": answer})
    else:
        print(f"{mail_id}  {answer}")
