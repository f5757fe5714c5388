"""The relay: publishes jobs that are due, and does background maintenance."""
