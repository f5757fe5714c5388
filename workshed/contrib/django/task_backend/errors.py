"""Errors of tasks."""

from workshed.errors import PermanentError


class ReturnValueError(PermanentError, TypeError):
    """What a task returned is not JSON, or is too large; running it again would not help."""

    def __init__(self, task: str, problem: str) -> None:
        super().__init__(f"{task}: {problem}; return what JSON can hold, or store it elsewhere")
