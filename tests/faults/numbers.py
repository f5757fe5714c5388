"""Stock dramatiq's seventeen ways to lose, repeat or stall a job, each with our remedy.

`python -m tests.faults.numbers [N …]` takes each remedy out of the processes of a test, which must
then fail. The exit code is 1 if one did not.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.faults.experiment import FAILED, Remedy, run_test

INTEGRATION = "tests/library/integration/brokers"


@dataclass(frozen=True, slots=True)
class Number:
    """A fault, its regression test, and the remedy without which that test fails."""

    number: int
    fault: str
    node: str
    remedy: Remedy
    without: str
    """What happened with the remedy taken out."""


NUMBERS = (
    Number(
        1,
        "a retry that cannot be published is lost, the job acked",
        f"{INTEGRATION}/test_consuming.py::test_an_outcome_waits_for_postgresql",
        Remedy(
            "workshed/transport/consuming/settlement.py",
            "        except db.TRANSIENT_ERRORS as passing:",
            "        except ZeroDivisionError as passing:",
        ),
        "the failing job leaves its queue while PostgreSQL is away, with no retry stored",
    ),
    Number(
        2,
        "an ack of a lost channel removes another, running job",
        f"{INTEGRATION}/test_consuming.py::test_an_ack_of_a_lost_channel_touches_no_other_job",
        Remedy(
            "workshed/transport/consuming/consumer.py",
            "            channel, tag, verb = self._pending_settlements.popleft()\n",
            "            channel, tag, verb = self._pending_settlements.popleft()\n"
            "            channel = self._consumers[-1]._acking_channel\n",
        ),
        "the tag of the old channel acks a job that has not ended on the new one",
    ),
    Number(
        3,
        "a job sent before the commit runs first, finds no record and is dropped",
        f"{INTEGRATION}/test_consuming.py::test_a_record_not_visible_yet_is_looked_for_again",
        Remedy(
            "workshed/middleware/retrying/policy.py",
            "    if left <= timedelta():",
            "    if True:",
        ),
        "the job is discarded before its sender's transaction is visible",
    ),
    Number(
        4,
        "a send returns though RabbitMQ never took the message",
        f"{INTEGRATION}/test_sending.py::test_sends_survive_lost_connections",
        Remedy(
            "workshed/transport/publishing/publisher.py",
            "            self._waiting.appendleft(publication)\n        self._pending.clear()",
            "            publication.batch.record_answer(publication, None)\n"
            "        self._pending.clear()",
        ),
        "messages without a confirm are counted as sent, and some are not in the queue",
    ),
    Number(
        5,
        "a time limit strikes outside the job: a failed one is lost, a done one runs twice",
        "tests/library/unit/middleware/test_deadline.py::"
        "test_work_that_is_done_when_the_limit_strikes_is_done",
        Remedy(
            "workshed/middleware/runtime/time_limit.py",
            "            if not returned:\n",
            "            if True:\n",
        ),
        "a job whose function has returned is reported as over its limit, and runs again",
    ),
    Number(
        6,
        "an unreadable message kills a thread, or restarts the consumer for ever",
        f"{INTEGRATION}/test_consuming.py::test_what_cannot_be_read_is_buried_and_blocks_nothing",
        Remedy(
            "workshed/transport/consuming/consumer.py",
            "        except EnvelopeError as err:\n            step",
            "        except ZeroDivisionError as err:\n            step",
        ),
        "the consumer thread fails over each of them, and later messages wait",
    ),
    Number(
        7,
        "a unique job's lock refuses its own retry",
        f"{INTEGRATION}/test_unique_sends.py::test_a_unique_job_that_is_retried_keeps_its_key",
        Remedy(
            "workshed/middleware/concurrency/uniqueness.py",
            "            held = unique.move_locks(conn, job.message_id, job.generation + 1)",
            "            held = unique.release_locks(conn, job.message_id, job.generation)",
        ),
        "while the retry waits, another job takes its key, and two are alive",
    ),
    Number(
        8,
        "jobs of next month fill the worker's memory and stall every retry",
        "tests/library/e2e/test_relays.py::test_a_million_rows_of_next_year_do_not_delay_a_retry",
        Remedy(
            "workshed/jobs/outbox/claims.py",
            "AND due_at <= workshed.now()",
            "AND due_at <= workshed.now() + interval '9 years'",
        ),
        "the relay sends jobs that are not due yet",
    ),
    Number(
        9,
        "a job that kills its worker does so for ever, and its neighbours never finish",
        "tests/library/e2e/test_suspects.py::test_killers_die_and_innocents_finish",
        Remedy(
            "workshed/middleware/delivery/deduplication.py",
            "    if past.started and not job.isolated:",
            "    if False:",
        ),
        "no start is isolated, so none counts, and the killers never die",
    ),
    Number(
        10,
        "a fork after the first send hangs, and a thread leaks its connection",
        f"{INTEGRATION}/test_sending.py::test_a_forked_child_sends_on_a_connection_of_its_own",
        Remedy(
            "workshed/transport/publishing/publisher.py",
            "        os.register_at_fork(after_in_child=self._reset)\n",
            "",
        ),
        "the child waits for an I/O thread that exists only in its parent",
    ),
    Number(
        11,
        "after SIGTERM jobs stay with an idle worker, and are interrupted at the end",
        f"{INTEGRATION}/test_leaving.py::test_what_waits_is_given_back_while_a_job_still_runs",
        Remedy(
            "workshed/transport/worker/lifecycle.py",
            "        self._shutdown.install_signal_handlers()\n",
            "",
        ),
        "waiting jobs are requeued only when dramatiq has checked for the signal",
    ),
    Number(
        12,
        "an alarm with a timeout multiplies messages, one without blocks for ever",
        f"{INTEGRATION}/test_alarms.py::test_senders_hear_of_an_alarm_and_nothing_is_copied",
        Remedy(
            "workshed/transport/publishing/publisher.py",
            "        blocked = self._link is None or self._link.blocked_reason is not None",
            "        blocked = self._link is None",
        ),
        "messages that were given up stay in the socket, and arrive after the alarm",
    ),
    Number(
        13,
        "a dead letter does not say what its error was",
        f"{INTEGRATION}/test_consuming.py::test_the_last_failure_is_buried_with_all_its_attempts",
        Remedy(
            "workshed/middleware/retrying/retries.py",
            '"poison":\n                record_failure(conn, job, outcome)\n',
            '"poison":\n',
        ),
        "the last attempt, the one it died of, has no row",
    ),
    Number(
        14,
        "the busiest or first queue starves the others",
        f"{INTEGRATION}/test_executing.py::test_starts_are_shared_by_weight_under_backlog",
        Remedy(
            "workshed/transport/worker/lifecycle.py",
            "self._execution.work = WorkQueue(weights, caps)",
            "self._execution.work = WorkQueue({}, caps)",
        ),
        "starts are shared one to one, whatever the weights",
    ),
    Number(
        15,
        "a changed argument of a queue is a 406 on every send",
        f"{INTEGRATION}/test_arguments.py::test_a_queue_of_each_type_can_be_made_and_used",
        Remedy(
            "workshed/transport/amqp/arguments.py",
            '        "x-max-priority": AcceptedVersions(before=NEVER),',
            '        "x-max-priority": ALWAYS,',
        ),
        "RabbitMQ refuses the queue, and every send to it",
    ),
    Number(
        16,
        "four connections for every queue",
        f"{INTEGRATION}/test_consuming.py::"
        "test_a_process_has_one_connection_to_consume_and_one_to_publish",
        Remedy(
            "workshed/transport/rabbitmq_consumption.py",
            "            self.connection,\n            queue,\n",
            '            ConsumerConnection(self._broker.urls, "consumer"),\n            queue,\n',
        ),
        "each queue opens a connection of its own",
    ),
    Number(
        17,
        "a sender needs the right to configure, and reaches every queue",
        f"{INTEGRATION}/test_sending.py::test_a_user_who_may_not_declare_can_send_to_what_is_there",
        Remedy(
            "workshed/transport/amqp/topology.py",
            "    if err.reply_code != ACCESS_REFUSED:",
            "    if True:",
        ),
        "a user who may not declare cannot send either",
    ),
)


def main() -> int:
    """Take each remedy out and check that its test fails."""
    chosen = {int(word) for word in sys.argv[1:]} or {n.number for n in NUMBERS}
    held = 0
    for number in NUMBERS:
        if number.number in chosen:
            failed = fails_without(number)
            held += not failed
            print(
                f"{number.number:2}  {'fails' if failed else 'DOES NOT FAIL'} without  "
                f"{number.fault}",
                flush=True,
            )
    return 1 if held else 0


def fails_without(number: Number) -> bool:
    """Return whether the test of a number fails without its remedy."""
    with tempfile.NamedTemporaryFile() as patched:
        done = run_test(number.node, without=[number.remedy], patched=Path(patched.name))
        return done.returncode == FAILED and bool(patched.read())


if __name__ == "__main__":
    raise SystemExit(main())
