"""Tables of commands: what a terminal, a file and a pipe get."""

import os
import subprocess
import sys

PRINT = """
from workshed.console.cli.terminal.output import print_table

print_table(["id", "job", "ended"], [["i" * 36, "send_invoice(order_id=1)" * 3, "now"]], elastic=1)
"""
JOB = "send_invoice(order_id=1)" * 3


def printed(**env):
    """The output of the program when it writes into a pipe."""
    ours = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, "-c", PRINT]
    return subprocess.run(
        command,
        env=ours | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_a_pipe_gets_the_whole_table():
    """Cut at 80 columns, it would hide jobs from `workshed jobs | grep send_invoice`."""
    assert f"{'i' * 36}  {JOB}  now" in printed()


def test_a_terminal_gets_what_fits_into_it():
    [_, line] = printed(COLUMNS="80").splitlines()

    assert len(line) <= 80
    assert line.startswith(f"{'i' * 36}  send_invoice")
    assert "…" in line
    assert line.rstrip().endswith("now")
