"""Where a process finds its application, and the error if it does not."""

import subprocess
import sys

import pytest

from workshed import app as module
from workshed.app import APP_VARIABLE, App, get_app, load_object
from workshed.errors import SettingsError
from workshed.queues import Queue

HERE = "from workshed.app import App\nfrom workshed.queues import Queue\n"


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """An empty working directory, and a process that has not looked for an application yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv(APP_VARIABLE)
    loaded = set(sys.modules)
    get_app.cache_clear()
    yield tmp_path
    get_app.cache_clear()
    for name in set(sys.modules) - loaded:
        del sys.modules[name]


@pytest.fixture
def write(project):
    """`write("shop_app", "app = App()")`: write a module of the project, below its imports."""
    return lambda name, text: (project / f"{name}.py").write_text(f"{HERE}{text}\n")


def named(text):
    return f"[tool.workshed]\napp = {text}\n"


def test_without_a_name_there_is_one_queue_and_nothing_else():
    assert get_app() == App(queues=(Queue("default"),))


def test_the_environment_names_it(write, monkeypatch):
    write("its_app", "app = App(queues=(Queue('mine'),))")
    monkeypatch.setenv(APP_VARIABLE, "its_app:app")

    assert [queue.name for queue in get_app().queues] == ["mine"]


def test_the_project_names_it(write, project):
    write("its_app", "app = App(queues=(Queue('mine'),))")
    (project / "pyproject.toml").write_text(named("'its_app:app'"))

    assert [queue.name for queue in get_app().queues] == ["mine"]


def test_the_environment_comes_before_the_project(write, project, monkeypatch):
    write("its_app", "one = App(queues=(Queue('one'),))\ntwo = App(queues=(Queue('two'),))")
    (project / "pyproject.toml").write_text(named("'its_app:one'"))
    monkeypatch.setenv(APP_VARIABLE, "its_app:two")

    assert [queue.name for queue in get_app().queues] == ["two"]


@pytest.mark.parametrize("text", ["", "[project]\nname = 'x'\n", "[tool.workshed]\n", "tool = 7"])
def test_a_project_that_names_none_has_none(project, text):
    (project / "pyproject.toml").write_text(text)

    assert get_app() == App()


def test_a_module_that_is_installed_comes_before_one_of_the_same_name_here(write, monkeypatch):
    """The working directory is searched last, so that it hides nothing that the program uses."""
    write("workshed", "app = App(queues=(Queue('mine'),))")
    monkeypatch.setenv(APP_VARIABLE, "workshed:app")

    with pytest.raises(SettingsError, match="it is of type module"):
        get_app()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("its_app", "WORKSHED_APP=its_app: write it as package.module:name"),
        (":app", "WORKSHED_APP=:app: write it as package.module:name"),
        (
            "nowhere:app",
            "WORKSHED_APP=nowhere:app: there is no module 'nowhere'; it is looked for ",
        ),
        ("its_app.sub:app", "there is no module 'its_app.sub'"),
        ("its_app:apps", "WORKSHED_APP=its_app:apps: module 'its_app' has no 'apps'"),
        ("its_app:Queue", "WORKSHED_APP=its_app:Queue: it is of type type, and not a workshed.App"),
    ],
)
def test_what_is_not_there_is_said(write, monkeypatch, name, said):
    write("its_app", "app = App()")
    monkeypatch.setenv(APP_VARIABLE, name)

    with pytest.raises(SettingsError) as found:
        get_app()

    assert said in str(found.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            named("'nowhere:app'"),
            "`app` of [tool.workshed] in pyproject.toml, 'nowhere:app': there",
        ),
        (named("7"), "`app` of [tool.workshed] in pyproject.toml must be a string such as"),
        ("[tool", "pyproject.toml of the working directory cannot be read: "),
    ],
)
def test_a_wrong_name_in_the_project_is_explained(project, text, said):
    (project / "pyproject.toml").write_text(text)

    with pytest.raises(SettingsError) as found:
        get_app()

    assert said in str(found.value)


def test_errors_of_its_module_pass_through(write, monkeypatch):
    """Its developer needs the lines that raised it."""
    write("its_app", "import not_installed")
    monkeypatch.setenv(APP_VARIABLE, "its_app:app")

    with pytest.raises(ModuleNotFoundError, match="not_installed"):
        get_app()


def test_a_named_module_is_imported_when_it_is_loaded(write):
    write("its_page", "found = 7")

    assert "its_page" not in sys.modules
    assert load_object("its_page:found") == 7


def test_each_process_looks_for_it_once(write, project):
    write("its_app", "app = App()")
    (project / "pyproject.toml").write_text(named("'its_app:app'"))
    first = get_app()
    (project / "pyproject.toml").unlink()

    assert get_app() is first


def test_finding_it_reads_no_settings_and_opens_nothing():
    """A process with unreadable settings can say so only if it gets that far."""
    done = subprocess.run(
        [sys.executable, "-c", f"import {module.__name__} as m; print(m.get_app())"],
        env={"PATH": "", "WORKSHED_BROKER_URL": "nonsense", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.startswith("App(queues=(Queue(name='default'")
