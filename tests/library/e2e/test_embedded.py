"""Jobs in the processes of web servers: `workshed.embed`."""

import os
import signal
import subprocess
import sys
from collections import Counter
from http.client import HTTPConnection

import pytest

from tests.conftest import TRANSPORTS
from workshed.devserver.ports import HOST, find_free_ports

ACTORS = """
import logging
import os
import threading
import time
from pathlib import Path

import dramatiq

import workshed
from workshed import broker, db
from workshed.middleware.runtime import time_limit

logging.basicConfig(level="INFO")

class ThreadNames(dramatiq.Middleware):
    "Notes the name that a thread has when the hooks of its boot run, which is before its jobs."

    def after_worker_thread_boot(self, broker, thread):
        with Path("threads").open("a") as file:
            print(thread.name, file=file)

broker.add_middleware(ThreadNames())

@dramatiq.actor(broker=broker, queue_name="default", once=True, max_retries=0)
def note(number, seconds):
    with db.transaction() as conn:
        conn.execute("INSERT INTO effects VALUES (%s, %s)", (number, os.getpid()))
    Path(f"began-{number}").touch()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.01)
    assert threading.current_thread().name.startswith("workshed job")

@dramatiq.actor(broker=broker, queue_name="default")
def leave(number, seconds):
    os._exit(1)

@dramatiq.actor(broker=broker, queue_name="default", time_limit=1000)
def hang(number, seconds):
    Path("hangs").touch()
    for _ in range(10):
        try:
            while not Path("go").exists():
                time.sleep(0.01)
        except time_limit.TimeLimitExceeded:
            pass

ACTORS = {"note": note, "leave": leave, "hang": hang}
time_limit.LEAST_GRACE_MS = 500
broker.get_actor("hang")
"""
ASGI = """
import os
from contextlib import asynccontextmanager
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from prometheus_client import generate_latest
import workshed
from shop_jobs import ACTORS

@asynccontextmanager
async def lifespan(app):
    print("the application starts", flush=True)
    yield
    print("the application stops", flush=True)

web = FastAPI(lifespan=lifespan)

@web.get("/{name}/{number}/{seconds}")
def send(name: str, number: int, seconds: float) -> int:
    ACTORS[name].send(number, seconds)
    return os.getpid()

@web.get("/metrics", response_class=PlainTextResponse)
def metrics() -> str:
    return generate_latest().decode()

web = workshed.embed(web)
"""
MIDDLEWARE = ASGI.replace("web = workshed.embed(web)", "web.add_middleware(workshed.embed)")
BARE = """
import os
import workshed
from shop_jobs import ACTORS

async def web(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] != "/":
        _, name, number, seconds = scope["path"].split("/")
        ACTORS[name].send(int(number), float(seconds))
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})

web = workshed.embed(web)
"""
WSGI = """
import os
import workshed
from shop_jobs import ACTORS

def web(environ, start_response):
    if environ["PATH_INFO"] != "/":
        _, name, number, seconds = environ["PATH_INFO"].split("/")
        ACTORS[name].send(int(number), float(seconds))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]

web = workshed.embed(web)
"""
UVICORN = ("uvicorn", "--host", HOST, "--port", "PORT")
GUNICORN = ("gunicorn", "--preload", "--threads", "4", "--bind", f"{HOST}:PORT")
UP = "4 threads run jobs"
ENDED = "no more jobs run in web process"
SERVERS = {
    "asgi": (ASGI, UVICORN),
    "middleware": (MIDDLEWARE, UVICORN),
    "bare": (BARE, UVICORN),
    "wsgi": (WSGI, GUNICORN),
}


class Site:
    """A web server with an application."""

    def __init__(self, code, command, folder, env):
        (folder / "shop_jobs.py").write_text(ACTORS)
        (folder / "shop_web.py").write_text(code)
        self.port, self.probes = find_free_ports(2)
        self.log = folder / f"site-{self.port}.log"
        words = [word.replace("PORT", str(self.port)) for word in command]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *words, "shop_web:web"],
                env={**env, "WORKSHED_METRICS_PORT": str(self.probes)},
                cwd=folder,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def text(self):
        return self.log.read_text()

    def ask(self, path, port=None):
        connection = HTTPConnection(HOST, port or self.port, timeout=60)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def send(self, name, number, seconds=0.0):
        """Send a job by a request; return the pid of the process that answered."""
        status, text = self.ask(f"/{name}/{number}/{seconds}")
        assert status == 200, self.text()
        return int(text)

    def is_serving(self):
        assert self.process.poll() is None, self.text()
        try:
            return self.ask("/")
        except ConnectionRefusedError:
            return None

    def readiness(self):
        try:
            return self.ask("/readyz", self.probes)[1]
        except ConnectionRefusedError:
            return None

    def end(self):
        """Send SIGTERM, and wait until it has ended."""
        self.process.terminate()
        self.process.wait(60)

    def kill(self):
        """Kill all its processes, as a machine that loses its power."""
        pids = [self.process.pid, *children(self.process.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.process.wait(60)


def children(pid):
    """Return the pids of the children of a process."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123 -- a single read
        return [int(one) for one in file.read().split()]


@pytest.fixture
def transport(request):
    """Jobs are rows; there is no RabbitMQ, unless a test says so."""
    return getattr(request, "param", "postgresql")


@pytest.fixture
def serve(environment, broker, tmp_path, connect, eventually):
    """`serve("asgi")`: start a web server, in whose folder jobs leave files."""
    connect(autocommit=True).execute("CREATE TABLE effects (number int, pid int)")
    env = {**os.environ, **environment, "WORKSHED_APP": ""}
    sites = []

    def start(kind, *options, serving=True, code=None, **variables):
        application, command = SERVERS[kind]
        sites.append(Site(code or application, (*command, *options), tmp_path, env | variables))
        if serving:
            eventually(sites[-1].is_serving)
        return sites[-1]

    yield start
    for one in sites:
        if one.process.poll() is None:
            one.kill()


@pytest.fixture
def effects(connect):
    """`effects()`: the numbers and pids of what jobs have written."""
    conn = connect(autocommit=True)
    return lambda: conn.execute("SELECT number, pid FROM effects ORDER BY number").fetchall()


def read_names(folder):
    file = folder / "threads"
    return file.read_text().splitlines() if file.exists() else []


def numbers_of(found):
    return [number for number, _ in found]


@pytest.mark.fresh_database
@pytest.mark.parametrize("transport", TRANSPORTS, indirect=True)
@pytest.mark.parametrize("kind", SERVERS)
def test_a_job_runs_in_the_process_of_its_request(kind, serve, effects, eventually):
    site = serve(kind)
    pid = site.send("note", 1)

    eventually(lambda: effects() == [(1, pid)])
    eventually(lambda: site.readiness() == "ok\n")
    site.end()

    assert ENDED in site.text()
    assert "Traceback" not in site.text()


@pytest.mark.fresh_database
def test_its_relay_and_its_metrics_are_in_the_process(serve, effects, connect, eventually):
    conn = connect(autocommit=True)
    site = serve("asgi")
    pid = site.send("note", 1)

    relays = "SELECT pid FROM workshed.relays"
    eventually(lambda: conn.execute(relays).fetchall() == [(pid,)])
    counted = 'workshed_jobs_total{actor="note",outcome="succeeded",queue="default"} 1.0'
    eventually(lambda: counted in site.ask("/metrics")[1])
    site.end()
    assert conn.execute(relays).fetchall() == []
    assert conn.execute("SELECT FROM workshed.workers").fetchall() == []


@pytest.mark.fresh_database
@pytest.mark.parametrize("transport", TRANSPORTS, indirect=True)
def test_its_threads_have_their_names_before_their_first_job(serve, tmp_path, eventually):
    site = serve("asgi")
    names = eventually(lambda: len(found := read_names(tmp_path)) == 4 and found)
    site.end()

    assert sorted(names) == [f"workshed job {number}" for number in range(1, 5)]


@pytest.mark.fresh_database
def test_each_process_of_uvicorn_runs_jobs(serve, connect, eventually):
    site = serve("asgi", "--workers", "2")

    eventually(lambda: site.text().count(UP) == 2)
    running = "SELECT pid FROM workshed.workers ORDER BY pid"
    pids = [pid for (pid,) in connect(autocommit=True).execute(running)]
    assert len(pids) == 2
    assert set(pids) <= set(children(site.process.pid))
    site.end()
    assert site.text().count(ENDED) == 2


@pytest.mark.fresh_database
@pytest.mark.parametrize("kind", ["asgi", "middleware"])
def test_the_lifespan_of_the_application_runs_around_the_jobs(kind, serve, eventually):
    site = serve(kind)
    eventually(lambda: UP in site.text())
    site.end()

    text = site.text()
    at = [text.index(sign) for sign in ("application starts", UP, ENDED, "application stops")]
    assert at == sorted(at)


@pytest.mark.fresh_database
def test_each_process_of_a_server_that_forks_runs_jobs_and_its_master_does_not(
    serve, effects, connect, eventually
):
    site = serve("wsgi", "--workers", "2", "--worker-class", "sync")
    pids = set()
    eventually(lambda: pids.add(site.send("note", 1)) or len(pids) == 2)

    conn = connect(autocommit=True)
    running = "SELECT pid FROM workshed.workers ORDER BY pid"
    eventually(lambda: [pid for (pid,) in conn.execute(running)] == sorted(pids))
    assert site.process.pid not in pids
    eventually(lambda: not conn.execute("SELECT FROM workshed.schedule").fetchall())
    assert {pid for _, pid in effects()} <= pids


@pytest.mark.fresh_database
@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_at_its_end_running_jobs_finish_and_others_run_after_a_restart(
    kind, serve, effects, tmp_path, connect, eventually
):
    site = serve(kind)
    for number in range(12):
        site.send("note", number, 2)
    eventually(lambda: len(list(tmp_path.glob("began-*"))) == 4)
    site.end()

    finished = numbers_of(effects())
    assert len(finished) == 4
    rows = connect(autocommit=True).execute(
        "SELECT count(*), count(claimed_by), bool_or(possible_duplicate) FROM workshed.schedule"
    )
    assert rows.fetchone() == (8, 0, False)

    serve(kind).send("note", 12)
    eventually(lambda: numbers_of(effects()) == list(range(13)))


@pytest.mark.fresh_database
@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_a_job_that_outlives_the_grace_period_is_interrupted_and_runs_again_once(
    kind, serve, effects, tmp_path, eventually
):
    site = serve(kind, WORKSHED_SHUTDOWN_GRACE="1s")
    site.send("note", 1, 20)
    eventually((tmp_path / "began-1").exists)
    site.end()
    assert "interrupted" in site.text()
    assert effects() == []

    (tmp_path / "began-1").unlink()
    pid = serve(kind).send("note", 2)
    eventually((tmp_path / "began-1").exists)
    eventually(lambda: effects() == [(1, pid), (2, pid)])


@pytest.mark.fresh_database
@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_killed_processes_lose_no_job_and_have_each_effect_once(kind, serve, effects, eventually):
    site = serve(kind)
    for number in range(60):
        site.send("note", number, 0.1)
    eventually(lambda: len(effects()) > 5)
    site.kill()
    assert len(effects()) < 60

    serve(kind).send("note", 60)
    eventually(lambda: len(effects()) == 61)
    assert Counter(numbers_of(effects())) == Counter(range(61))


@pytest.mark.fresh_database
def test_a_job_that_ended_two_processes_does_not_run_in_a_third(serve, connect, eventually):
    conn = connect(autocommit=True)
    site = serve("asgi")
    site.send("leave", 1)
    site.process.wait(60)
    serve("asgi", serving=False).process.wait(60)
    site = serve("asgi")

    dead = "SELECT reason FROM workshed.dead"
    [(reason,)] = eventually(lambda: conn.execute(dead).fetchall())
    assert "run `workshed worker` for its queue" in reason
    assert site.process.poll() is None


@pytest.mark.fresh_database
def test_a_job_past_its_hard_limit_keeps_its_thread_and_not_the_process(
    serve, effects, tmp_path, eventually
):
    site = serve("asgi")
    eventually(lambda: site.readiness() == "ok\n")
    site.send("hang", 1)

    eventually(lambda: "past its hard limit" in (site.readiness() or ""))
    pid = site.send("note", 2)
    eventually(lambda: effects() == [(2, pid)])
    (tmp_path / "go").touch()
    eventually(lambda: site.readiness() == "ok\n")


@pytest.mark.fresh_database
def test_a_process_serves_without_its_database_and_says_that_no_jobs_run(serve, eventually):
    [port] = find_free_ports(1)
    site = serve("asgi", WORKSHED_DATABASE_URL=f"postgresql://{HOST}:{port}/none")

    eventually(lambda: "cannot start: PostgreSQL does not answer" in (site.readiness() or ""))
    assert "no jobs run in web process" in site.text()
    assert site.ask("/")[0] == 404


@pytest.mark.fresh_database
@pytest.mark.parametrize(("kind", "sign"), [("asgi", "startup failed"), ("wsgi", "Error handling")])
def test_an_actor_with_a_hard_limit_is_refused(kind, sign, serve, eventually):
    code = SERVERS[kind][0].replace(
        "from shop_jobs import ACTORS",
        "from shop_jobs import ACTORS\nimport dramatiq\n"
        "@dramatiq.actor(broker=workshed.broker, queue_name='default', hard_time_limit=900_000)\n"
        "def render(number):\n    pass\n",
    )
    site = serve(kind, serving=kind == "wsgi", code=code)

    eventually(lambda: "render: a hard_time_limit= ends the process" in site.text())
    assert "workshed worker -Q default" in site.text()
    eventually(lambda: sign in site.text())
    if kind == "asgi":
        assert site.process.wait(60) == 3
        assert "the application stops" in site.text()
