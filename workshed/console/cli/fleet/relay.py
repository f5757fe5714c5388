"""`workshed relay`: publish jobs of the schedule when they are due."""

import typer

from workshed.transport.relay.relay import main


def relay() -> None:
    """Run a relay until Ctrl-C or SIGTERM: publish delayed, retried and outbox jobs when due.

    `workshed worker` already runs one, and so does every `dramatiq` master unless
    WORKSHED_RELAY_FORK is false. Use this command on a host that runs neither. One relay is
    enough; several may run at once.
    """
    raise typer.Exit(main())
