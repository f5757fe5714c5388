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

    said = site.manage("check", code=None, APPS=apps)
    assert message in said
    assert said.count("workshed.E003") == 1  # although there are two backends
    said = site.manage("shell", "-c", "from shop import tasks; tasks.add.enqueue(1)", APPS=apps)
    assert message in said


def test_a_project_that_has_not_installed_workshed_is_named(site):
    site.write("not_installed.py", "from settings import *\ndel INSTALLED_APPS[1]")
    enqueue = "from shop import tasks; tasks.add.enqueue(1)"
    own = {"DJANGO_SETTINGS_MODULE": "not_installed"}

    assert "workshed.E002) TASKS['default'] needs" in site.manage("check", code=1, **own)
    assert "add 'workshed.contrib.django' to INSTALLED_APPS" in site.manage(
        "shell", "-c", enqueue, code=1, **own
    )


NAIVE = """
from datetime import datetime, timedelta
from django.db import connection
from django.utils import timezone
from shop.tasks import add
timezone.activate("Asia/Tokyo")
at = datetime.now().replace(microsecond=0) + timedelta(hours=1)
sent = add.using(run_after=at).enqueue(1)
with connection.cursor() as cursor:
    query = "SELECT due_at AT TIME ZONE 'Europe/Paris' FROM workshed.schedule WHERE message_id = %s"
    cursor.execute(query, [sent.id])
    [due] = cursor.fetchone()
found = add.get_result(sent.id)
passed = datetime.now() - found.enqueued_at
print("times", due == at, found.task.run_after == at, passed < timedelta(minutes=1))
"""


def test_without_use_tz_times_are_those_of_time_zone(site):
    """Another zone that is activated, for the user of a request, does not move them."""
    assert "times True True True" in site.manage("shell", "-c", NAIVE, NO_TZ="1")


EARLY = """
from django.tasks import task
from workshed import Unique
from workshed.contrib.django import task_options


@task
def add(left):
    return left


@task
@task_options(unique=Unique(key="right"))
def bad(left):
    pass
"""


def test_tasks_that_are_imported_before_workshed_are_declared_with_it(site):
    site.write("early/__init__.py", EARLY)
    site.write("early_settings.py", "from settings import *\nINSTALLED_APPS.insert(0, 'early')")
    code = """if True:
        import early
        print(early.add.enqueue(1).status)
        try:
            early.bad.enqueue(1)
        except Exception as err:
            print("refused:", err)
    """

    said = site.manage("check", code=1, DJANGO_SETTINGS_MODULE="early_settings")
    ran = site.manage("shell", "-c", code, DJANGO_SETTINGS_MODULE="early_settings")

    assert "workshed.E003) a task is invalid: early.bad: " in said
    assert "READY" in ran
    assert "refused: early.bad: " in ran


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
