"""Builds, checks and tries the packages of a release: `make release`."""
