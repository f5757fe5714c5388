"""The image of a service that `workshed init` has written is built, and runs a worker's command."""

import shutil

import pytest

from tests.service.e2e.deploy.images import spec, tmpfs
from workshed.console.cli.setup.init import write_files
from workshed.console.scaffold.render import render_service
from workshed.console.scaffold.service import new_service

pytestmark = [pytest.mark.image, pytest.mark.timeout(1500)]


def test_its_image_has_its_code_and_runs_it(store, wheel, tmp_path, start_container):
    folder = tmp_path / "billing"
    write_files(folder, render_service(new_service("billing")))
    shutil.copy(wheel, folder)
    name = f"{store.workshed}-billing"
    dockerfile = folder / "deploy" / "container" / "Dockerfile"
    store.build(name, dockerfile, context=folder, PYTHON="localhost/debian")

    with store.unpacked(name) as files:
        config = store.config(name)
        code = "import actors, billing, middleware; print(actors.welcome.queue_name)"
        container = start_container(
            spec(
                files,
                ["python", "-c", code],
                dict(one.split("=", 1) for one in config["Env"]),
                cwd=config["WorkingDir"],
                user=config["User"],
                read_only=True,
                mounts=[tmpfs("/tmp", "mode=1777")],  # noqa: S108 -- in the container
            )
        )
        assert container.process.wait(120) == 0, container.text()

    assert container.text().split() == ["default"]
    assert config["Cmd"] == ["workshed", "worker", "actors", "--processes", "1"]
    assert config["User"] == "10001:10001"
