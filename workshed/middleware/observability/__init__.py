"""What is seen of jobs: history, logs, metrics, Sentry, traces."""
