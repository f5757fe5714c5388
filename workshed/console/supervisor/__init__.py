"""`workshed worker`: starts workers, restarts and replaces them."""
