"""`python -m workshed` is the `workshed` command."""

from workshed.console.entry import main

main()
