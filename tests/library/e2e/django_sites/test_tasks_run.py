"""Django's tasks run in workers of Workshed, and their results can be read anywhere."""

import pytest

pytestmark = pytest.mark.usefixtures("worker")


def enqueue(ask, call):
    """Enqueue a task; return the id of its result."""
    return ask(f"return tasks.{call}.id")


def test_a_task_runs_with_its_arguments_and_returns_a_value(ask, finished):
    result = finished(enqueue(ask, "add.enqueue(2, right=3)"))

    assert (result["status"], result["value"]) == ("SUCCESSFUL", 5)
    assert (result["args"], result["kwargs"]) == ([2], {"right": 3})
    assert (result["path"], result["backend"], result["attempts"]) == (
        "shop.tasks.add",
        "default",
        1,
    )
    times = [result[name] for name in ("enqueued_at", "started_at", "finished_at")]
    assert times == sorted(times)
    assert result["last_attempted_at"] == result["started_at"]
    assert result["errors"] == []


def test_a_result_can_be_refreshed(ask, finished):
    finished(enqueue(ask, "add.enqueue(1)"))

    refreshed = """
        result = tasks.add.enqueue(1)
        before = result.status, result.is_finished
        while not result.is_finished:
            result.refresh()
        return [*before, result.status, result.return_value]
    """

    assert ask(refreshed) == ["READY", False, "SUCCESSFUL", 2]


def test_a_task_takes_its_context(ask, finished):
    result_id = enqueue(ask, "describe_run.enqueue('hi')")

    assert finished(result_id)["value"] == {
        "word": "hi",
        "attempt": 1,
        "id": result_id,
        "status": "RUNNING",
        "path": "shop.tasks.describe_run",
    }


@pytest.mark.parametrize(
    ("call", "value"), [("add_async.enqueue(3, 4)", 7), ("describe_async.enqueue()", 1)]
)
def test_an_async_task_runs(call, value, ask, finished):
    assert finished(enqueue(ask, call))["value"] == value


def test_a_task_that_fails_for_good_has_its_error(ask, finished):
    result = finished(enqueue(ask, "fail.enqueue('luck')"))

    assert (result["status"], result["attempts"]) == ("FAILED", 1)
    [[path, traceback]] = result["errors"]
    assert path == "shop.tasks.ShopError"
    assert "in fail\n" in traceback
    assert "ShopError: no luck" in traceback
    with pytest.raises(Exception, match="ValueError: Task failed"):
        ask(f"return default_task_backend.get_result({result['id']!r}).return_value")


def test_a_task_is_retried_by_its_options(ask, finished):
    result = finished(enqueue(ask, "recover.enqueue()"))

    assert (result["status"], result["value"], result["attempts"]) == ("SUCCESSFUL", 3, 3)
    assert [path for path, _ in result["errors"]] == ["shop.tasks.ShopError"] * 2
    assert result["last_attempted_at"] > result["started_at"]


def test_a_run_that_snoozes_is_no_attempt(ask, finished):
    """Its result grew with each, and was written again each time."""
    result = finished(enqueue(ask, "poll.enqueue('a file')"))

    assert (result["status"], result["value"], result["attempts"]) == ("SUCCESSFUL", 1, 1)


@pytest.mark.parametrize("task", ["return_object", "return_nan", "return_large"])
def test_a_value_that_is_not_json_or_too_large_fails_the_task_at_once(task, ask, finished):
    result = finished(enqueue(ask, f"{task}.enqueue()"))

    assert (result["status"], result["attempts"]) == ("FAILED", 1)
    found = f"""
        [error] = default_task_backend.get_result({result["id"]!r}).errors
        return issubclass(error.exception_class, TypeError)
    """
    assert ask(found)


def test_a_value_becomes_json(ask, finished):
    assert finished(enqueue(ask, "return_tuple.enqueue()"))["value"] == ["one", [2, 3], "four"]


def test_a_task_that_is_discarded_has_failed(ask, finished):
    result = finished(enqueue(ask, "discard.enqueue()"))

    assert result["status"] == "FAILED"
    assert [path for path, _ in result["errors"]] == ["workshed.jobs.signals.Discard"]


@pytest.mark.parametrize("task", ["mark_once", "mark_once_async"])
def test_a_task_with_once_writes_in_the_transaction_of_its_outcome(ask, finished, task):
    result = finished(enqueue(ask, f"{task}.enqueue('only {task}')"))

    assert (result["status"], result["value"], result["attempts"]) == ("SUCCESSFUL", 1, 2)
    assert ask(f"return Mark.objects.filter(name='only {task}').count()") == 1


def test_a_task_of_a_module_that_no_worker_has_imported_runs(ask, finished):
    result_id = ask("from shop.late import greet; return greet.enqueue('Ada').id")

    assert finished(result_id)["value"] == "Hello Ada"


def test_signals_are_sent_where_the_task_is_enqueued_and_where_it_runs(ask, finished, eventually):
    sent = """
        from django.tasks.signals import task_enqueued
        seen = []
        def note(sender, task_result, **_):
            seen.append([sender.__name__, task_result.status, task_result.id])
        task_enqueued.connect(note)
        result = tasks.add.enqueue(1)
        task_enqueued.disconnect(note)
        return [seen, result.id]
    """

    seen, result_id = ask(sent)  # although another receiver fails
    finished(result_id)

    assert seen == [["TasksBackend", "READY", result_id]]
    marks = f"return list(Mark.objects.filter(about={result_id!r}).values_list('name', flat=True))"
    eventually(lambda: sorted(ask(marks)) == ["finished SUCCESSFUL", "started RUNNING"])


def test_a_task_is_sent_once_while_its_unique_key_is_held(ask, finished):
    both = """
        later = timezone.now() + timedelta(hours=1)
        first = tasks.export.using(run_after=later).enqueue("orders")
        second = tasks.export.enqueue("orders")
        return [first.id, second.id, second.task.run_after == later]
    """

    first, second, is_that = ask(both)

    assert first == second
    assert is_that


def test_a_killed_worker_runs_its_task_again(ask, finished):
    result = finished(enqueue(ask, "wait_for_kill.enqueue()"))

    assert (result["status"], result["value"], result["attempts"]) == ("SUCCESSFUL", 2, 2)


def test_the_history_names_the_task(ask, finished, site, eventually):
    finished(enqueue(ask, "add.enqueue(1)"))

    # Tests that run in parallel set COLUMNS, by which the table would be cut.
    eventually(lambda: "shop.tasks.add" in site.manage("workshed", "jobs", COLUMNS="200"))
