"""The use cases of operators, for command line and web."""
