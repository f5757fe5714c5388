"""The limit of the instructions that a job may cost: measure, compare, store."""
