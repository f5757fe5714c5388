"""Observing jobs: history, logs, metrics, Sentry, traces."""
