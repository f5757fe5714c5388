"""Tasks are sent as Django's own tests of its backends ask, in `tests/tasks` of its source."""

import pytest

from tests.library.e2e.django_sites.task_project import AskError


@pytest.mark.parametrize("block", ["contextlib.nullcontext", "transaction.atomic"])
@pytest.mark.parametrize("name", ["ignore", "ignore_async"])
def test_a_new_result_is_that_of_a_task_that_waits(name, block, run):
    found = run(f"""
task = contract.{name}
later = task.using(run_after=timezone.now() + timedelta(hours=1))
with {block}():
    result = later.enqueue(1, two=3)
    times = [result.started_at, result.last_attempted_at, result.finished_at]
    return [
        result.status, result.is_finished, times, result.args, result.kwargs, result.attempts,
        result.errors, result.worker_ids, result.backend, result.enqueued_at is not None,
        result.task == later, task.enqueue().task == task,
    ]
""")

    waiting = ["READY", False, [None] * 3, [1], {"two": 3}, 0, [], [], "default", True]
    assert found == [*waiting, True, True]


@pytest.mark.parametrize("name", ["ignore", "ignore_async"])
def test_a_stored_result_equals_that_of_enqueue(name, run):
    found = run(f"""
later = contract.{name}.using(run_after=timezone.now() + timedelta(hours=1), priority=10)
async def find():
    result = await later.aenqueue(1, two=3)
    again = await later.aget_result(result.id)
    await again.arefresh()
    return [await backend.aget_result(result.id) == result, again == result]
result = later.enqueue(1, two=3)
again = later.get_result(result.id)
again.refresh()
return [backend.get_result(result.id) == result, again == result, *asyncio.run(find())]
""")

    assert found == [True] * 4


def test_a_result_can_be_found_by_an_id_that_is_a_uuid(run):
    """It raised an error of PostgreSQL, which also aborted the transaction."""
    assert run("""
result = contract.ignore.enqueue()
return backend.get_result(uuid.UUID(result.id)).id == result.id
""")


@pytest.mark.parametrize("unknown", ["'123'", "123", "'\\x00'", "'\\ud800'", "uuid.uuid4()"])
def test_an_unknown_id_has_no_result(unknown, run):
    found = run(f"""
def is_missing(find):
    try:
        find({unknown})
    except TaskResultDoesNotExist:
        return Mark.objects.filter(name="unknown").count() == 0
finders = [backend.get_result, contract.ignore.get_result]
finders += [async_to_sync(backend.aget_result), async_to_sync(contract.ignore.aget_result)]
with transaction.atomic():
    return [is_missing(find) for find in finders]
""")

    assert found == [True] * 4  # and the transaction goes on


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("contract.ignore.enqueue(timezone.now())", "TypeError: Unsupported type"),
        ("asyncio.run(contract.ignore.aenqueue(timezone.now()))", "TypeError: Unsupported type"),
        ("contract.ignore.using(priority=-101)", "InvalidTask: priority must be a whole number"),
        ("contract.ignore.using(priority=3.1)", "InvalidTask: priority must be a whole number"),
        ("contract.ignore.using(backend='unknown')", "InvalidTaskBackend: The connection 'unkno"),
        ("task_backends['default'].validate_task(elsewhere)", "Queue 'emails' is not valid"),
        ("elsewhere.enqueue()", "InvalidTask: Queue 'emails' is not valid for backend"),
        ("asyncio.run(elsewhere.aenqueue())", "InvalidTask: Queue 'emails' is not valid for back"),
        ("tasks.task()(any)", "InvalidTask: Task function must be defined at a module level"),
        ("tasks.task(takes_context=True)(contract.answer.func)", "InvalidTask: Task takes context"),
        (
            "asyncio.run(contract.ignore.aget_result(contract.answer.enqueue().id))",
            "TaskResultMismatch: Task does not match",
        ),
        (
            "contract.answer.using(run_after=timezone.now() + timedelta(1)).enqueue().return_value",
            "ValueError: Task has not finished yet",
        ),
    ],
)
def test_what_django_refuses_is_refused(code, error, run):
    settings = "backends" if "elsewhere" in code else "settings.TASKS"

    with pytest.raises(AskError, match=error):
        run(f"""
from django.conf import settings
with override_settings(TASKS={settings}):
    return {code}
""")


def test_without_backends_nothing_can_be_enqueued(run):
    with pytest.raises(AskError, match="InvalidTaskBackend: The connection 'default' doesn't"):
        run("""
with override_settings(TASKS={}):
    contract.ignore.enqueue()
""")


def test_a_backend_without_async_tasks_refuses_them(run):
    with pytest.raises(AskError, match="InvalidTask: Backend does not support async Tasks"):
        run("""
configured = task_backends["default"]
with patch.object(configured, "supports_async_task", False):
    configured.validate_task(contract.ignore_async)
""")


def test_a_task_is_a_function_with_a_name_that_can_be_called(run):
    found = run("""
task = contract.answer
return [
    task.call(), asyncio.run(task.acall()), contract.ignore_async.call(),
    asyncio.run(contract.ignore_async.acall()), task.name, task.module_path,
    import_string(task.module_path) is task, task.using() == task, task.using() is task,
]
""")

    assert found == [42, 42, None, None, "answer", "shop.contract.answer", True, True, False]


def test_the_backend_of_a_task_is_that_of_the_settings(run):
    found = run("""
other = contract.ignore.using(backend="other", queue_name="any")
return [
    type(task_backends["default"]).__name__, backend.alias, backend == task_backends["default"],
    list(backend.options), list(backend.check()), contract.ignore.backend, other.backend,
    other.get_backend() is task_backends["other"], other.queue_name,
]
""")

    of_default = ["TasksBackend", "default", True, ["min_backoff"], []]
    assert found == [*of_default, "default", "other", True, "any"]


def test_threads_enqueue_at_the_same_time(run):
    found = run("""
with ThreadPoolExecutor(8) as pool:
    results = list(pool.map(contract.ignore.enqueue, range(40)))
is_stored = all(backend.get_result(result.id).args == result.args for result in results)
return [sorted(result.args[0] for result in results), len({r.id for r in results}), is_stored]
""")

    assert found == [list(range(40)), 40, True]


def test_enqueue_writes_a_log_line(run):
    [[level, line], result_id] = run("""
lines = []
handler = logging.Handler()
handler.emit = lambda record: lines.append([record.levelname, record.getMessage()])
logger = logging.getLogger("django.tasks")
level = logger.level
logger.setLevel("DEBUG")
logger.addHandler(handler)
result = contract.ignore.enqueue()
logger.removeHandler(handler)
logger.setLevel(level)
[line] = lines
return [line, result.id]
""")

    assert level == "DEBUG"
    assert line == f"Task id={result_id} path=shop.contract.ignore enqueued backend=default"
