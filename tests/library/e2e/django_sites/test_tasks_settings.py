"""What is wrong with tasks, or with their settings, is said by name, and stops nothing else."""

import json

import pytest

BAD = """
from django.tasks import task


@task(queue_name="nowhere")
def bad():
    pass
"""


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (BAD, "a task of broken.tasks is invalid: Queue 'nowhere' is not valid for backend"),
        ("import no_such_module", "broken.tasks cannot be imported: ModuleNotFoundError: No mod"),
        (
            BAD.replace('(queue_name="nowhere")', "\n@task_options(once=3)").replace(
                "import task", "import task\nfrom workshed.contrib.django import task_options"
            ),
            "task_options: once=3 is neither True nor False",
        ),
    ],
)
def test_a_bad_module_of_one_app_is_reported_and_the_others_start(code, message, site):
    site.write("broken/__init__.py", "")
    site.write("broken/tasks.py", code)
    apps = json.dumps(["broken"])

    assert message in site.manage("check", code=None, APPS=apps)
    said = site.manage("shell", "-c", "from shop import tasks; tasks.add.enqueue(1)", APPS=apps)
    assert message in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"OPTIONS": {"time_limits": 1}}, "there is no option 'time_limits'"),
        ({"QUEUES": ["two words"]}, "queue name 'two words'"),
    ],
)
def test_wrong_settings_are_named(options, message, site):
    assert message in site.manage("check", code=1, TEST_TASKS=json.dumps(options))


def test_a_project_without_tasks_of_workshed_imports_none(site):
    own = json.dumps({"BACKEND": "django.tasks.backends.dummy.DummyBackend"})
    code = "import sys; print('shop.tasks' in sys.modules, 'is here')"

    said = site.manage("shell", "-c", code, TEST_TASKS=own, DROP_OTHER="1")

    assert "False is here" in said


def test_a_result_can_be_read_when_its_backend_is_no_longer_configured(site, ask):
    result_id = ask("return tasks.add.using(backend='other').enqueue(1).id")
    code = f"from shop.tasks import add; print(add.get_result({result_id!r}).task.backend, 'now')"

    assert "default now" in site.manage("shell", "-c", code, DROP_OTHER="1")
