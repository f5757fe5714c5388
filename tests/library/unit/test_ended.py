"""Checking whether a server has ended, and Ctrl-C at any moment of the check."""

import os
import subprocess
import sys

import pytest

from tests.processes import popen
from workshed.devserver.process import has_ended

SLEEP = ["sleep", "600"]


@pytest.fixture
def process():
    with popen(SLEEP) as process:
        yield process
        process.kill()


def interrupted_at(number, function):
    """Interrupt a function at this instruction; return whether it has that many."""
    left = number

    def count(frame, event, _):
        nonlocal left
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        function()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_an_interrupt_at_any_instruction_leaves_a_process_that_can_be_waited_for(process):
    """Interrupted at one instruction, `Popen.poll` keeps its lock, and `wait` hangs forever."""
    number = 0
    while interrupted_at(number, lambda: has_ended(process)):
        is_held = process._waitpid_lock.locked()
        if is_held:
            process._waitpid_lock.release()  # else this test would hang, too
        assert not is_held, f"at instruction {number}"
        number += 1

    assert number > 10
    assert not has_ended(process)


def test_an_ended_process_is_seen_before_and_after_it_is_waited_for(process, eventually):
    process.kill()
    eventually(lambda: has_ended(process))

    assert process.wait(60) == -9
    assert has_ended(process)


def test_a_process_that_was_reaped_elsewhere_has_ended():
    with subprocess.Popen(["true"]) as process:
        assert os.waitpid(process.pid, 0)[0] == process.pid
        assert has_ended(process)
