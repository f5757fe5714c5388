"""The supervisor of `workshed worker`: starts, restarts and replaces processes."""
