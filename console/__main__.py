"""`python -m console` is the `workshed` command."""

from console.entry import main

main()
