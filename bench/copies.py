"""`python -m bench.copies NUMBER COMMAND …`: run a worker several times, until it is terminated.

For peers whose workers are one process each.
"""

import signal
import subprocess
import sys


def main() -> int:
    """Run the copies; the exit code is the first one that is not 0."""
    copies: list[subprocess.Popen[bytes]] = []

    def stop(*_: object) -> None:
        for one in copies:
            one.terminate()

    signal.signal(signal.SIGTERM, stop)
    for _ in range(int(sys.argv[1])):
        copies.append(subprocess.Popen(sys.argv[2:]))  # noqa: PERF401 -- a signal may stop those that run
    return max((one.wait() for one in copies), key=abs)


if __name__ == "__main__":
    raise SystemExit(main())
