"""dramatiq options that Workshed does not support, each with what to use instead."""

import dramatiq
from dramatiq.broker import Broker
from dramatiq.middleware import Middleware

UNSUPPORTED_OPTIONS = {
    "max_age": "set expires=timedelta(…), which leaves a row with its reason",
    "pipe_target": "pipe messages, a.message(1) | b.message(); or send to one actor by on_success=",
    "notify_shutdown": "every job that outlives WORKSHED_SHUTDOWN_GRACE is interrupted, by "
    "`dramatiq.middleware.Shutdown`, and runs again",
}
ACTOR_OPTION_HINTS = {
    name: f"set {name}= on the actor, for all its jobs"
    for name in (
        "discard_on",
        "notify_shutdown",
        "on_dead",
        "on_failure",
        "on_retry_exhausted",
        "on_success",
        "once",
        "periodic",
        "retry_on",
        "retry_when",
        "throws",
    )
}
MESSAGE_OPTION_HINTS = {
    **ACTOR_OPTION_HINTS,
    **UNSUPPORTED_OPTIONS,
    "delay": "give it to `set(delay=…).send`, `send_with_options`, `schedule.send` or "
    "`pipeline.run`",
    "retries": "the worker counts; `attempt` is the number of the run",
}


class UnsupportedOptions(Middleware):
    """Refuse dramatiq options that would be ignored, and name the alternative.

    By default dramatiq would only ask whether you forgot to add a middleware.
    """

    @property
    def actor_options(self) -> set[str]:
        """The options that are refused."""
        return set(UNSUPPORTED_OPTIONS)

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., object]) -> None:
        """Raise `ValueError` with what to use instead."""
        for name in sorted(UNSUPPORTED_OPTIONS.keys() & actor.options.keys()):
            raise ValueError(
                f"{actor.actor_name}: {name}= is not supported: {UNSUPPORTED_OPTIONS[name]}"
            )
