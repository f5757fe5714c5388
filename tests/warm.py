"""Programs forked from a process that has imported third-party packages, to start faster.

As a script it is the process from which they are forked; see `Warm` for its requests.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
from pathlib import Path

# None that reads its environment at import time, as dramatiq does, and none of our own.
PACKAGES = [
    *("asyncio", "multiprocessing.connection", "smtplib"),
    *("cronsim", "css_inline", "email_validator", "httpx2", "itsdangerous", "jinja2", "orjson"),
    *("pika", "psycopg", "psycopg_pool", "pydantic_settings"),
    *("sse_starlette", "starlette.applications", "typer", "uvicorn"),
]


class Program:
    """A forked program with the parts of `subprocess.Popen` that tests use."""

    def __init__(self, pid, status):
        self.pid = pid
        self.returncode = None
        self._status = status

    def poll(self):
        """Return the exit code, below 0 for the signal that ended it; None while it runs."""
        with contextlib.suppress(FileNotFoundError):
            if text := self._status.read_text():
                self.returncode = int(text)
        return self.returncode

    def wait(self, timeout):
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self._status), timeout)
            time.sleep(0.01)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


class Warm:
    """The process from which programs are forked; it ends with the block, or with this process."""

    def __enter__(self):
        pipe = subprocess.PIPE
        self._asking = threading.Lock()
        self._process = subprocess.Popen([sys.executable, __file__], stdin=pipe, stdout=pipe)
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def start(self, *words, env, log):
        """Start a module, or code after `-c`, in the folder of its log.

        It leads its own process group.
        """
        how = words if words[0] == "-c" else ("-m", *words)
        return self._start(how, env, log.parent, log, log)

    def run(self, *words, env, folder, within_s):
        """Run `python WORDS` in a folder to its end: a module, a script, or code after `-c`."""
        with tempfile.TemporaryDirectory() as place:
            out, err = Path(place, "out"), Path(place, "err")
            program = self._start(words, env, folder, out, err)
            try:
                code = program.wait(within_s)
            except subprocess.TimeoutExpired as late:
                os.killpg(program.pid, signal.SIGKILL)
                program.wait(60)
                raise AssertionError(f"{out.read_text()}{err.read_text()}") from late
            return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())

    def _start(self, words, env, folder, out, err):
        for file in (out, err):
            file.touch()  # so that it can be read at once
        status = out.with_name(f"{out.name}.exit")
        status.unlink(missing_ok=True)  # left by an earlier program with the same log
        files = {"out": str(out), "err": str(err), "status": str(status)}
        wanted = {"words": words, "env": env, "folder": str(folder), **files}
        with self._asking:
            self._process.stdin.write(json.dumps(wanted).encode() + b"\n")
            self._process.stdin.flush()
            return Program(int(self._process.stdout.readline()), status)


def serve():
    """Fork a program for each line read, and write its exit code when it has ended."""
    for name in PACKAGES:
        importlib.import_module(name)
    gc.freeze()
    running = {}

    def ended(*_):
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                pid, status = found
                Path(running.pop(pid)).write_text(str(os.waitstatus_to_exitcode(status)))

    signal.signal(signal.SIGCHLD, ended)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, which end this process
    for line in sys.stdin:
        wanted = json.loads(line)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if pid == 0:
            become(**wanted)
            return
        running[pid] = wanted["status"]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def become(words, env, folder, out, err, status):
    """Behave like a new Python with these words, variables and files."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    with (
        Path(os.devnull).open() as nothing,
        Path(out).open("ab") as said,
        Path(err).open("ab") as failed,
    ):
        for file, number in ((nothing, 0), (said, 1), (failed, 2)):
            os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.path[:1] = [folder, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    execute(*words)


def execute(first, *words):
    """Run a module, code or a script, with the remaining words as its arguments."""
    if first == "-m":
        sys.argv[1:] = words[1:]
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv[:] = ["-c", *words[1:]]
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(compile(words[0], "<string>", "exec"), vars(main))  # noqa: S102 -- code of a test
    else:
        sys.argv[:] = [first, *words]
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    serve()
