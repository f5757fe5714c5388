"""The process around a job: time limits, connections, its parent process."""
