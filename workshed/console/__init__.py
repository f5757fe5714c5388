"""The tools for operators: the command line, the doctor, the web console, the supervisor."""
