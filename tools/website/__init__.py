"""The documentation site, built from the same Markdown files that a code host shows."""
