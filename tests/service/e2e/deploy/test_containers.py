"""The image is built, and its containers run as in `compose.yaml`: read-only, unprivileged.

Docker is not available where these tests run: buildah builds, crun runs, and the base is a Debian
of the same release instead of python:3.13-slim-trixie.
"""

import os
import re
from datetime import timedelta

import pytest

from actors import send_welcome_email
from shop import people
from tests.service.e2e.deploy.images import bind, spec, tmpfs
from tests.service.integration.deploy.composed import composed

pytestmark = [pytest.mark.image, pytest.mark.timeout(1500)]  # the first one builds the image

AT = re.compile(r"(?:metrics are at|Console) http://0\.0\.0\.0:(\d+)")
SERVERS = ("WORKSHED_BROKER_URL", "WORKSHED_DATABASE_URL", "WORKSHED_MANAGEMENT_URL")


@pytest.fixture
def start_service(image, start_container, broker, mail_server, tmp_path):
    """Start a service of compose.yaml unchanged, on the servers of this test."""
    files, config = image
    services = composed(tmp_path)["services"]
    data = tmp_path / "data"
    data.mkdir(mode=0o750)
    os.chown(data, 10001, 10001)
    ours = {name: os.environ[name] for name in os.environ if name.startswith("WORKSHED_")}

    def start(name, command=None):
        service = services[name]
        env = dict(one.split("=", 1) for one in config["Env"])
        env |= {key: value for key, value in service["environment"].items() if key not in SERVERS}
        env |= {"SHOP_SYNC_EVERY": "31536000", **ours}
        mounts = [tmpfs(folder, "mode=1777") for folder in service["tmpfs"]]
        mounts += [bind(data, one["target"]) for one in service.get("volumes", ())]
        init = ["/usr/bin/python3", "-c", INIT] if service.get("init") else []
        # All containers use the network of this machine, where the port may be taken.
        words = command or service["command"]
        words = [word if word != "8080" else "0" for word in words]
        container = start_container(
            spec(
                files,
                [*init, *words],
                env,
                cwd=config["WorkingDir"],
                user=config["User"],
                read_only=service["read_only"],
                capabilities=() if service["cap_drop"] == ["ALL"] else ("CAP_CHOWN",),
                mounts=mounts,
            )
        )
        container.health = service.get("healthcheck", {}).get("test")
        return container

    return start


# The part of Docker's init that matters here: it is process 1 and forwards SIGTERM.
INIT = """
import os, signal, subprocess, sys
child = subprocess.Popen(sys.argv[1:])
signal.signal(signal.SIGTERM, lambda *_: child.terminate())
code = child.wait()
sys.exit(code if code >= 0 else 128 - code)
"""


def healthy(container, eventually):
    """Wait until its health check succeeds, run in it and on its actual port."""
    found = eventually(
        lambda: AT.search(container.text()) or container.process.poll(), within_s=120
    )
    assert not isinstance(found, int), container.text()
    _, *check, code = container.health
    there = re.sub(r"(?<=127\.0\.0\.1):\d+", f":{found[1]}", code)
    return eventually(lambda: container.attempt(*check, there)[0] == 0, within_s=120)


def holds_a_licence(path):
    """Return whether a file has the text of a licence; small files only refer to another."""
    return re.search(r"licen[cs]e|copying|gpl", path.name, re.IGNORECASE) and (
        path.is_file() and path.stat().st_size > 500
    )


def test_it_is_not_root_and_brings_the_licences_of_all(image):
    files, config = image
    packages = files / "opt/workshed/lib/python3.13/site-packages"
    infos = list(packages.glob("*.dist-info"))

    assert config["User"] == "10001:10001"
    assert config["Cmd"] == ["workshed", "worker", "actors", "--processes", "1"]
    for name in ("LICENSE", "LICENSES-THIRD-PARTY.md"):
        assert (files / "usr/share/doc/workshed" / name).stat().st_size
    named = (files / "usr/share/doc/workshed/LICENSES-THIRD-PARTY.md").read_text().lower()
    unknown = {
        name
        for name in (re.sub(r"[-_.]+", "-", one.name.partition("-")[0]).lower() for one in infos)
        if f"| {name} |" not in re.sub(r"[_.]", "-", named)
    }
    assert unknown == {"workshed"}
    assert [one.name for one in infos if not any(map(holds_a_licence, one.rglob("*")))] == []


def test_nothing_that_tests_need_is_in_it(image):
    files, _ = image
    installed = {
        one.name.partition("-")[0] for one in files.glob("opt/workshed/lib/*/*/*.dist-info")
    }

    assert (
        installed & {"pytest", "celery", "django", "mypy", "playwright", "uv", "hatchling"} == set()
    )
    assert not (files / "src").exists()
    assert not (files / "tools").exists()


def test_a_worker_on_a_read_only_root_does_a_job_and_hears_sigterm(
    start_service, conn, count, eventually
):
    with conn.transaction():
        user = people.create(conn, name="Ada", email="ada@example.org")
    start_service("relay")  # no worker is ready without a relay
    worker = start_service("worker")
    healthy(worker, eventually)

    send_welcome_email.send(user.id)
    eventually(lambda: count("workshed_mail.emails WHERE state = 'sent'") == 1, within_s=120)

    for folder in ("/", "/usr", "/opt/workshed", "/etc"):
        code, said = worker.attempt("touch", f"{folder}/x")
        assert (code, "Read-only file system" in said) == (1, True), said
    assert worker.run("sh", "-c", "touch /tmp/x /var/lib/workshed/x && id -u") == "10001\n"
    assert "CapEff:\t0000000000000000" in worker.run("cat", "/proc/1/status")
    assert worker.stop(within=45) == 0


def test_its_own_command_starts_a_relay_and_runs_delayed_jobs(
    image, start_service, conn, count, eventually
):
    """Without a relay no worker is ready, and delayed jobs wait."""
    with conn.transaction():
        user = people.create(conn, name="Ada", email="ada@example.org")
    worker = start_service("worker", image[1]["Cmd"])
    healthy(worker, eventually)

    send_welcome_email.send_with_options(args=(user.id,), delay=timedelta(seconds=1))
    eventually(lambda: count("workshed_mail.emails WHERE state = 'sent'") == 1, within_s=120)

    assert worker.stop(within=45) == 0, worker.text()


@pytest.mark.parametrize("name", ["relay", "console", "clock"])
def test_the_other_parts_are_healthy_on_a_read_only_root_and_hear_sigterm(
    name, start_service, eventually
):
    container = start_service(name)

    assert healthy(container, eventually)
    assert container.stop(within=20) in {0, 143}, container.text()


def test_migrations_are_applied_by_a_container(start_service, count):
    migrate = start_service("migrate")

    assert migrate.process.wait(120) == 0
    assert "up to date" in migrate.text()
