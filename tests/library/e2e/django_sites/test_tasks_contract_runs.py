"""Tasks run as Django's own tests of its backends ask, in `tests/tasks` of its source."""

import json

import pytest


@pytest.fixture(scope="module")
def log(site):
    """The file to which the worker writes its log lines."""
    return site.folder / "worker.log"


@pytest.fixture(scope="module")
def worker(site, log):
    """A worker and a relay of the project."""
    with log.open("w") as lines:
        return site.start("workshed", "worker", "-p", "1", "-t", "4", stderr=lines)


@pytest.fixture
def perform(run, finished, worker):
    """`perform("answer.enqueue()")`: the finished result of a task, and its error's class."""

    def wait(call):
        result = finished(run(f"return contract.{call}.id"))
        kind = f"return backend.get_result({result['id']!r}).errors[0].exception_class.__name__"
        return result, run(kind) if result["errors"] else None

    return wait


@pytest.mark.parametrize("name", ["ignore", "ignore_async"])
def test_a_finished_result_has_its_times_and_no_value(name, perform):
    result, _ = perform(f"{name}.enqueue(1, two=3)")

    times = [result[time] for time in ("enqueued_at", "started_at", "finished_at")]
    assert times == sorted(times)
    assert (result["status"], result["value"], result["attempts"]) == ("SUCCESSFUL", None, 1)
    assert (result["args"], result["kwargs"], result["errors"]) == ([1], {"two": 3}, [])


def test_a_context_has_the_attempt_and_the_result(perform):
    result, _ = perform("check_context.enqueue(1)")

    assert (result["status"], result["value"]) == ("SUCCESSFUL", result["id"])


@pytest.mark.parametrize("name", ["ValueError", "SystemExit", "KeyboardInterrupt"])
@pytest.mark.parametrize("task", ["leave", "leave_async"])
def test_a_task_fails_by_any_exception_and_the_worker_goes_on(task, name, perform):
    """An async task that exited ended the event loop, and waited for it forever."""
    result, kind = perform(f"{task}.enqueue('builtins.{name}')")

    assert (result["status"], kind) == ("FAILED", name)
    assert result["errors"][0][1].endswith(f"{name}: this task leaves\n")
    assert result["finished_at"] >= result["started_at"] == result["last_attempted_at"]
    assert perform("ignore_async.enqueue()")[0]["status"] == "SUCCESSFUL"


def test_an_error_whose_argument_is_no_text_is_kept(perform):
    result, kind = perform("leave_nested.enqueue()")

    assert kind == "ValueError"
    assert 'ValueError(ValueError("this task leaves"))' in result["errors"][0][1]


def test_a_value_that_is_not_json_fails_with_its_type(perform):
    result, kind = perform("return_function.enqueue()")

    assert (result["status"], kind) == ("FAILED", "ReturnValueError")
    assert "TypeError: Unsupported type" in result["errors"][0][1]


@pytest.mark.parametrize(
    ("call", "level", "status"),
    [
        ("answer.enqueue()", "info", "SUCCESSFUL"),
        ("leave.enqueue('builtins.ValueError')", "error", "FAILED"),
    ],
)
def test_the_worker_writes_a_log_line_for_each_status(
    call, level, status, perform, log, eventually
):
    result, kind = perform(call)

    def find_lines():
        lines = [json.loads(line) for line in log.read_text().splitlines() if result["id"] in line]
        found = [line for line in lines if line["logger"] == "django.tasks"]
        return found if len(found) > 1 else None

    started, ended = eventually(find_lines)
    about = f"Task id={result['id']} path={result['path']} state="
    assert (started["level"], started["event"]) == ("info", f"{about}RUNNING")
    assert (ended["level"], ended["event"]) == (level, about + status)
    assert [error["exc_type"] for error in ended.get("exception", [])] == [kind] * bool(kind)
