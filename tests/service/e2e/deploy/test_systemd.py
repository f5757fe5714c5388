"""The units run under a real systemd: process 1 of a Debian with Workshed in /opt/workshed."""

import os
import re
import shutil

import pytest

from actors import send_welcome_email
from shop import people
from tests.service.e2e.deploy.images import ROOT, run, spec, tmpfs
from workshed.devserver.ports import HOST

pytestmark = [pytest.mark.image, pytest.mark.timeout(1500)]  # the first one builds the image

UNITS = ROOT / "deploy" / "systemd"
# The capabilities of a service manager, in its own namespaces.
MANAGER = (
    *(
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "IPC_LOCK",
        "KILL",
    ),
    *(
        "MKNOD",
        "NET_ADMIN",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_ADMIN",
    ),
    *("SYS_CHROOT", "SYS_NICE", "SYS_PTRACE", "SYS_TTY_CONFIG"),
)
# Targets of a booted host: a network, and nothing else that a machine starts.
BOOTED = ("sysinit.target", "basic.target", "network-online.target", "shutdown.target")
AT = re.compile(r"metrics are at http://127\.0\.0\.1:(\d+)/metrics")
ALONE = "[Unit]\nDefaultDependencies=no\n"
# What each part logs once it is up.
UP = {
    "workshed-relay": "relay is running",
    "workshed-clock": "metrics are at",
    "workshed-console": "Console",
}
CONSOLE = "WORKSHED_CONSOLE_USERS='olga:operator:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA'\n"


class Host:
    """A Debian with systemd in a container, on which commands are run."""

    def __init__(self, container):
        self.container = container

    def has_booted(self):
        assert self.container.process.poll() is None, self.container.text()
        return self.container.attempt("systemctl", "is-active", "booted.target")[0] == 0

    def systemctl(self, *words):
        return self.container.run("systemctl", "--no-pager", *words)

    def state(self, unit, name="ActiveState"):
        return self.systemctl("show", "--value", f"--property={name}", unit).strip()

    def pid(self, unit):
        return int(self.state(unit, "MainPID"))

    def log(self, unit):
        return self.container.run("sh", "-c", f"cat /var/log/{unit} 2>/dev/null || true")


@pytest.fixture
def host(store, start_container, broker, mail_server, eventually):
    """A host with Workshed installed as the page says, on the servers of this test."""
    with store.unpacked(store.workshed) as files:
        install(files)
        folders = [tmpfs("/run", "mode=755"), tmpfs("/tmp", "mode=1777")]  # noqa: S108
        cgroup = {"destination": "/sys/fs/cgroup", "type": "cgroup2", "source": "cgroup2"}
        sys = {"destination": "/sys", "type": "tmpfs", "source": "tmpfs"}
        container = start_container(
            spec(
                files,
                ["/usr/lib/systemd/systemd", "--system", "--unit=booted.target"],
                {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "container": "crun"},
                capabilities=[f"CAP_{name}" for name in MANAGER],
                mounts=[*folders, sys, cgroup | {"options": ["rw"]}],
            )
        )
        found = Host(container)

        eventually(found.has_booted)
        yield found
        container.end()


def install(files):
    """Follow the steps of deploy/README.md on the files of a host."""
    here = files / "etc/systemd/system"
    shutil.copytree(
        UNITS, here, dirs_exist_ok=True, ignore=shutil.ignore_patterns("etc", "sysusers*")
    )
    for name in BOOTED:
        (here / name).write_text(ALONE)
    (here / "booted.target").write_text(ALONE)
    # There is no journal; the output of units goes to a file.
    loud = here / "workshed-.service.d" / "log.conf"
    loud.write_text(
        "[Service]\nStandardOutput=append:/var/log/%N\nStandardError=append:/var/log/%N\n"
    )
    shutil.copytree(UNITS / "etc", files / "etc/workshed")
    ours = {name: os.environ[name] for name in os.environ if name.startswith("WORKSHED_")}
    settings = ours | {
        "ACTORS": "actors",
        "WORKSHED_STORAGE_URL": "file:/var/lib/workshed/storage",
        "SHOP_SYNC_EVERY": "31536000",
    }
    written = "".join(f"{name}='{value}'\n" for name, value in settings.items())
    (files / "etc/workshed/workshed.env").write_text(written)
    # One of the settings that a part may have of its own; it is visible without another server.
    (files / "etc/workshed/clock.env").write_text("WORKSHED_METRICS_PORT=9282\n")
    (files / "etc/workshed/console.env").write_text(
        f"{CONSOLE}WORKSHED_SECRET_KEY={'k' * 40}\nCONSOLE=--host {HOST} --port 0\n"
    )


def test_a_worker_of_a_group_does_a_job_and_stops_in_good_order(host, conn, count, eventually):
    conn.autocommit = True
    user = people.create(conn, name="Ada", email="ada@example.org")

    host.systemctl("start", "workshed-worker@quick", "workshed-worker@mail", "workshed-relay")
    send_welcome_email.send(user.id)
    eventually(lambda: count("workshed_mail.emails WHERE state = 'sent'") == 1, within_s=120)
    locked = host.container.run("cat", f"/proc/{host.pid('workshed-worker@mail')}/status")
    host.systemctl("reload", "workshed-worker@mail")
    eventually(lambda: host.log("workshed-worker@mail").count("1 worker is up") == 2, within_s=120)
    host.systemctl("stop", "workshed-worker@quick", "workshed-worker@mail", "workshed-relay")

    for line in ("Uid:\t10001", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert line in locked
    for unit in ("workshed-worker@quick", "workshed-worker@mail", "workshed-relay"):
        assert host.state(unit, "Result") == "success", host.log(unit)
        assert host.state(unit, "ExecMainStatus") == "0"


def test_the_target_starts_and_stops_all(host, eventually):
    units = ["workshed-worker@mail", "workshed-relay", "workshed-clock", "workshed-console"]
    host.systemctl("enable", "workshed.target", *units)

    host.systemctl("start", "workshed.target")
    for unit, word in zip(
        units, ("1 worker is up", "relay is running", "metrics are at", "Console"), strict=True
    ):
        eventually(lambda: word in host.log(unit), within_s=120)  # noqa: B023 -- called at once
    host.systemctl("stop", "workshed.target")
    eventually(lambda: {host.state(unit) for unit in units} == {"inactive"})

    assert [host.state(unit, "Result") for unit in units] == ["success"] * 4
    for unit, first in zip(units, (9192, 9181, 9282), strict=False):
        port = int(AT.search(host.log(unit))[1])
        assert port - first in range(16)  # other tests on this machine may use some


def test_a_killed_part_is_restarted_and_a_misconfigured_one_is_not(host, eventually):
    host.systemctl("start", *UP)
    for unit, word in UP.items():
        eventually(lambda: word in host.log(unit), within_s=120)  # noqa: B023 -- called at once
    first = {unit: host.pid(unit) for unit in UP}
    host.systemctl("kill", "--signal=KILL", *UP)
    for unit, pid in first.items():
        eventually(lambda: host.pid(unit) not in {0, pid})  # noqa: B023 -- as above
    host.systemctl("stop", *UP)

    host.container.run("sh", "-c", "echo WORKSHED_BROKRE_URL=x >> /etc/workshed/workshed.env")
    host.systemctl("start", *UP, "workshed-worker@mail")
    for unit in (*UP, "workshed-worker@mail"):
        eventually(lambda: host.state(unit) == "failed", within_s=120)  # noqa: B023 -- as above
        assert host.state(unit, "ExecMainStatus") == "2"
        assert host.state(unit, "NRestarts") == "0"
        assert "WORKSHED_BROKRE_URL" in host.log(unit)


def test_the_schema_comes_by_a_unit_of_its_own(host):
    host.systemctl("start", "workshed-migrate")

    assert host.state("workshed-migrate", "Result") == "success"
    assert "up to date" in host.log("workshed-migrate")


def test_the_account_is_made_by_sysusers(tmp_path):
    said = run("systemd-sysusers", f"--root={tmp_path}", str(UNITS / "sysusers.conf"))

    assert "workshed" in (tmp_path / "etc" / "passwd").read_text(), said
