"""`python -m workshed` is the `workshed` command."""

import importlib

# By name, because imports point down and the command stands above this package.
importlib.import_module("workshed.console.entry").main()
