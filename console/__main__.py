"""`python -m console` is the `workshed` command."""

from console.cli import main

main()
