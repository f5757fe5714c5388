"""Django's tasks are checked, stored and sent by the process that enqueues them."""

import secrets

import pytest

from tests.library.e2e.django_sites.task_project import LATE, AskError
from workshed.roles import ROLES

JOBS = """
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM workshed.schedule WHERE sent_at IS NULL")
        return cursor.fetchone()[0]
"""


RESULTS = """
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM workshed.results WHERE expires_at > now()")
        return cursor.fetchone()[0]
"""


@pytest.fixture
def stored(ask):
    """`stored()`: how many more jobs are stored and not sent than when the test began."""
    before = ask(JOBS)
    return lambda: ask(JOBS) - before


def test_a_task_commits_with_the_data(ask, stored):
    ask("""
        with transaction.atomic():
            Mark.objects.create(name="data")
            tasks.add.enqueue(1)
    """)

    assert stored() == 1


def test_a_task_is_rolled_back_with_the_data_and_has_no_result(ask, stored):
    found = ask("""
        from django.tasks.exceptions import TaskResultDoesNotExist
        try:
            with transaction.atomic():
                result = tasks.add.enqueue(1)
                inside = tasks.add.get_result(result.id).status
                raise KeyError
        except KeyError:
            pass
        try:
            tasks.add.get_result(result.id)
        except TaskResultDoesNotExist:
            return inside
    """)

    assert found == "READY"
    assert stored() == 0


def test_a_task_outside_of_a_transaction_is_sent_at_once(ask, stored):
    depth = "return broker.get_queue_message_counts('emails')[0]"
    before = ask(depth)

    result = ask("return describe(tasks.mark.enqueue('now'))")

    assert stored() == 0
    assert ask(depth) == before + 1
    assert (result["status"], result["queue"], result["priority"]) == ("READY", "emails", 50)
    assert ask(f"return describe(tasks.mark.get_result({result['id']!r}))") == result


def test_a_deferred_task_is_stored_until_it_is_due(ask, stored):
    due = ask("""
        at = timezone.now() + timedelta(days=30)
        result = tasks.add.using(run_after=at).enqueue(1)
        with connection.cursor() as cursor:
            query = "SELECT due_at = %s FROM workshed.schedule WHERE message_id = %s"
            cursor.execute(query, (at, result.id))
            [is_due] = cursor.fetchone()
            query = "SELECT expires_at > %s + interval '6 days' FROM workshed.results "
            cursor.execute(query + "WHERE key = %s", (at, f"django-task:{result.id}"))
            [is_kept] = cursor.fetchone()
        return [is_due, is_kept, tasks.add.get_result(result.id).task.run_after == at]
    """)

    assert due == [True, True, True]
    assert stored() == 1


@pytest.mark.parametrize(
    ("priority", "level"),
    [(-100, 0), (-1, 0), (0, 0), (1, 1), (10, 1), (11, 2), (20.0, 2), (100, 10)],
)
def test_a_priority_is_a_level_of_the_queue(priority, level, ask):
    sent = f"""
        with transaction.atomic():
            result = tasks.add.using(priority={priority}).enqueue(1)
        return [find_options(result.id)["broker_priority"], result.task.priority]
    """

    assert ask(sent) == [level, priority]


def test_async_enqueue_and_get_result(ask):
    found = ask("""
        async def both():
            result = await tasks.add.aenqueue(4)
            again = await tasks.add.aget_result(result.id)
            await again.arefresh()
            return [result.id == again.id, again.args, again.status]
        return asyncio.run(both())
    """)

    assert found == [True, [4], "READY"]


def test_arguments_become_json(ask):
    sent = """
        from django.utils.safestring import mark_safe
        return describe(tasks.add.enqueue((mark_safe("<b>"), b"x"), right={1: Mark(id=7).id}))
    """

    result = ask(sent)

    assert (result["args"], result["kwargs"]) == ([["<b>", "x"]], {"right": {"1": 7}})


def test_arguments_are_not_checked_against_annotations(ask):
    assert ask("return describe(tasks.find_by_uuid.enqueue('any text'))")["args"] == ["any text"]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("tasks.add.enqueue(object())", "TypeError: Unsupported type"),
        ("tasks.add.enqueue(b'\\xff')", "ValueError: Unsupported value"),
        ("tasks.add.enqueue(float('nan'))", "ValueError: Out of range float"),
        ("tasks.add.enqueue(2**64)", "InvalidArgumentError"),
        ("tasks.add.enqueue(1, 2, 3)", "InvalidArgumentError"),
        ("tasks.describe_run.enqueue()", "InvalidArgumentError"),
        ("tasks.add.using(priority=101)", "InvalidTask: priority must be a whole number"),
        ("tasks.add.using(queue_name='unknown')", "InvalidTask: Queue 'unknown' is not valid"),
        ("tasks.add.using(backend='other', queue_name='x').enqueue(1)", "add it to QUEUES"),
        ("tasks.add.using(run_after=timezone.now().replace(tzinfo=None))", "InvalidTask"),
        ("tasks.add.get_result('unknown')", "TaskResultDoesNotExist: unknown"),
        ("tasks.fail.get_result(tasks.add.enqueue(1).id)", "TaskResultMismatch"),
        ("tasks.task(lambda: 1)", "InvalidTask: Task function must be defined at a module level"),
        ("tasks.task_options(time_limit=3)", "ValueError: task_options: time_limit=3 is not a tim"),
        ("tasks.task_options(limits=3)", "there is no option 'limits'"),
        ("tasks.task_options(priority=3)", r"priority is not an option of a task"),
        ("tasks.task_options()(tasks.add)", "write @task above @task_options"),
    ],
)
def test_what_cannot_run_is_refused(call, error, ask):
    with pytest.raises(AskError, match=error):
        ask(f"return {call}")


def test_the_backend_says_what_it_supports(ask):
    flags = ("defer", "async_task", "get_result", "priority")

    for flag in flags:
        assert ask(f"return default_task_backend.supports_{flag}") is True


def test_a_task_that_is_cancelled_while_it_waits_has_failed(ask):
    found = ask("""
        from workshed import db, schedule
        result = tasks.add.using(run_after=timezone.now() + timedelta(hours=1)).enqueue(1)
        with db.transaction() as conn:
            schedule.cancel(conn, result.id)
        return describe(tasks.add.get_result(result.id))
    """)

    assert found["status"] == "FAILED"
    assert found["errors"][0][1] == "the job was cancelled"


def test_a_result_that_a_newer_release_has_stored_can_be_read(ask):
    """During a rolling deployment, its jobs went to the dead queue of the older workers."""
    found = ask("""
        result = tasks.add.enqueue(1)
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE workshed.results SET body = convert_to(convert_from(body, 'UTF8')::jsonb"
                " || '{\\"newer\\": 1}' #>> '{}', 'UTF8') WHERE key = %s",
                [f"django-task:{result.id}"],
            )
        return tasks.add.get_result(result.id).status
    """)

    assert found == "READY"


@pytest.mark.parametrize("block", ["contextlib.nullcontext", "transaction.atomic"])
@pytest.mark.parametrize("task", ["export", "publish"])
def test_a_task_that_is_not_sent_leaves_no_result(task, block, ask):
    """Its arguments were kept for a week, under an ID that the caller does not know."""
    send = f"""
        with {block}(), contextlib.suppress(DuplicateJobError):
            tasks.{task}.enqueue({block!r})
    """
    ask(send)
    before = ask(RESULTS)

    ask(send)

    assert ask(RESULTS) == before


def test_a_task_that_another_with_its_key_replaces_has_failed(ask):
    """It stayed READY for as long as its result was kept."""
    first, second = ask("""
        later = timezone.now() + timedelta(hours=1)
        results = [tasks.index.using(run_after=later).enqueue("pages") for _ in range(2)]
        return [describe(tasks.index.get_result(result.id)) for result in results]
    """)

    assert (first["status"], second["status"]) == ("FAILED", "READY")
    assert "replaced by another with its unique key" in first["errors"][0][1]
    assert first["finished_at"]


def test_a_task_is_an_actor_of_its_own(ask):
    names = ask("return sorted(broker.actors)")

    assert {"shop.tasks.add", "shop.tasks.mark"} <= set(names)
    assert "shop.late.greet" not in names
    ask("from shop import late")
    assert "shop.late.greet" in ask("return sorted(broker.actors)")


IS_TASK = """
    import sys
    from workshed.contrib.django.task_backend import discovery
    return [discovery.import_task(PATH) is not None, PATH.rpartition(".")[0] in sys.modules]
"""


def test_a_message_imports_no_module_outside_of_apps(ask, site):
    """Otherwise a forged message could run any module on the path of a worker."""
    for folder in ("shop_private", "shop/private"):
        site.write(f"{folder}/__init__.py", "")
        site.write(f"{folder}/late.py", LATE)

    found = [
        ask(IS_TASK.replace("PATH", repr(path)))
        for path in ("shop_private.late.greet", "this.s", "greet", "", "shop.private.late.greet")
    ]

    assert found == [[False, False]] * 4 + [[True, True]]


def test_a_module_that_could_not_be_imported_is_tried_again(ask, site):
    """Otherwise all of its jobs would be dead after an hour, for one moment of an outage."""
    ask_late = IS_TASK.replace("PATH", "'shop.broken.greet'")
    site.write("shop/broken.py", "raise SystemExit('not now')")
    assert ask(ask_late) == [False, False]
    site.write("shop/broken.py", LATE)

    ask("from workshed.contrib.django.task_backend import discovery; discovery.RETRY_S = 0.001")

    assert ask(ask_late) == [True, True]


@pytest.fixture
def application_role(ask):
    """A role with the rights of an application that sends, and no others."""
    prefix = f"tasks_{secrets.token_hex(6)}"
    run = "with connection.cursor() as cursor: cursor.execute"
    ask(f"""
        from workshed.roles import grant_script, list_grants
        {run}("\\n".join(grant_script({prefix!r}, list_grants())))
    """)
    yield f"{prefix}_application"
    for role in ROLES:
        ask(f'{run}("DROP OWNED BY {prefix}_{role}; DROP ROLE {prefix}_{role}")')


def test_an_application_with_the_least_rights_enqueues_and_reads_results(ask, application_role):
    found = ask(f"""
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL ROLE {application_role}")
            result = tasks.add.enqueue(1)
            return default_task_backend.get_result(result.id).status
    """)

    assert found == "READY"
