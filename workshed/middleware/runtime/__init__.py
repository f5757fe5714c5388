"""The process around a job: time limits, connections, parents."""
