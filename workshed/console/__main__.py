"""`python -m console` is the `workshed` command."""

from workshed.console.entry import main

main()
