"""Messages and pipelines as type checkers see them.

At run time these are dramatiq's own classes, whose `|` has no types. Here the result of each step
must fit the first parameter of the next one.
"""

from typing import TYPE_CHECKING

import dramatiq

if TYPE_CHECKING:
    from typing import Generic, Self, TypeVar

    S = TypeVar("S")
    R_co = TypeVar("R_co", covariant=True)
    T_contra = TypeVar("T_contra", contravariant=True)

    class PipedMessage(dramatiq.Message[R_co], Generic[T_contra, R_co]):
        """A step of a pipeline whose first argument, a `T_contra`, is the previous result."""

    class Message(dramatiq.Message[R_co]):
        """A message with all its arguments."""

        def __or__(self, other: "PipedMessage[R_co, S] | Message[S]") -> "Pipeline[S]":
            """Begin a pipeline. A step that is no `PipedMessage` needs `pipe_ignore=True`."""

    class Pipeline(dramatiq.pipeline, Generic[R_co]):
        """A pipeline whose last step returns an `R_co`."""

        def __or__(self, other: "PipedMessage[R_co, S] | Message[S]") -> "Pipeline[S]":
            """Add a step."""

        def run(self, *, delay: int | None = None) -> Self:
            """Send the first step, after `delay` milliseconds if given; return the pipeline."""

        def get_result(self, *, block: bool = False, timeout: int | None = None) -> R_co:
            """Return the last step's result; `timeout` in milliseconds."""

else:
    PipedMessage = Message = dramatiq.Message
    Pipeline = dramatiq.pipeline
