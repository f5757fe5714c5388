"""What people operate: the command line, the web console, the private servers."""
