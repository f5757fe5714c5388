"""The queues of the sample application, and what it adds to the processes of Workshed."""
