"""The life of a worker process: boot, signals, heartbeat, shutdown."""
