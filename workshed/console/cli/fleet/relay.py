"""`workshed relay`: publish what is due in the schedule."""

import typer

from workshed.transport.relay.relay import main


def relay() -> None:
    """Run a relay until Ctrl-C or SIGTERM.

    `workshed worker` runs one beside its workers, as does every `dramatiq` master unless
    WORKSHED_RELAY_FORK is false; this is for a host that runs none. Any number may run, one is
    enough.
    """
    raise typer.Exit(main())
