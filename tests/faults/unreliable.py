"""Middleware of an application, for an experiment's workers and senders."""

import random

from dramatiq.middleware import Middleware, SkipMessage

OFTEN = 0.3


class Unreliable(Middleware):
    """Adds its own option, and fails in three of ten hooks around a job."""

    @property
    def actor_options(self):
        return {"request_id"}

    def before_enqueue(self, broker, message, delay):
        message.options["request_id"] = f"r-{message.message_id}"
        self.fail()

    def before_process_message(self, broker, message):
        assert message.options["request_id"] == f"r-{message.message_id}"
        self.fail()

    def fail(self, *_, **__):
        """Raise an error that a database driver or a cache client might raise."""
        if random.random() < OFTEN:  # noqa: S311 -- a coin
            raise random.choice([ConnectionError, RuntimeError, KeyError])("fails on purpose")  # noqa: S311

    after_enqueue = after_process_message = after_skip_message = fail
    before_ack = after_ack = before_nack = after_nack = fail
    after_worker_thread_boot = before_worker_thread_shutdown = fail


class Gate(Middleware):
    """A feature flag: skips one job of three, and lets the jobs that follow them run."""

    def before_process_message(self, broker, message):
        if message.actor_name != "follow" and is_skipped(message.args[0]):
            raise SkipMessage("its feature is off")


def is_skipped(number):
    return number % 3 == 0
