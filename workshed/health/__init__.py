"""Whether a process is well."""
