"""The lifecycle of a worker process: boot, signals, heartbeat, shutdown."""
