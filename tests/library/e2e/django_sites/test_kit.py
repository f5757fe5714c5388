"""The kit in tests of a Django project, by pytest-django and by `manage.py test`."""

import os

import pytest

from tests import pages
from tests.companions import installed
from tests.library.e2e.django_sites.project import Site

JOBS = """
import workshed
from django.db import IntegrityError, transaction
from store.models import Order
from workshed import db


@workshed.actor(once=True)
def copy(order_id: int) -> None:
    order = Order.objects.get(id=order_id)
    Order.objects.create(total=order.total + 1)
    note.send(order.total)


@workshed.actor(once=True, max_retries=0)
async def copy_async(order_id: int) -> None:
    order = await Order.objects.aget(id=order_id)
    await Order.objects.acreate(total=order.total + 1)
    note.send(order.total)


@workshed.actor()
def note(total: int) -> None:
    with db.transaction() as conn:
        found = conn.execute("SELECT count(*) FROM store_order").fetchone()
    Order.objects.create(total=-found[0])


@workshed.actor(max_retries=0)
def break_rule(total: int) -> None:
    Order.objects.create(total=total)
    Order.objects.create(total=total)


@workshed.actor(max_retries=0, once=True)
def break_rule_once(total: int) -> None:
    Order.objects.create(total=total)
    Order.objects.create(total=total)


@workshed.actor(max_retries=0)
def swallow(total: int) -> None:
    try:
        break_rule.fn(total)
    except IntegrityError:
        pass


@workshed.actor(max_retries=0, once=True)
def give_up(total: int) -> None:
    try:
        with transaction.atomic(savepoint=False):
            Order.objects.create(total=total)
            raise ValueError(total)
    except ValueError:
        pass


@workshed.actor(max_retries=0, once=True)
def announce_and_fail() -> None:
    transaction.on_commit(lambda: Order.objects.create(total=99))
    1 / 0


@workshed.actor(max_retries=0)
def announce_and_break(total: int) -> None:
    with transaction.atomic():
        transaction.on_commit(lambda: Order.objects.create(total=99))
    break_rule.fn(total)


@workshed.actor(once=True)
def announce(order_id: int) -> None:
    transaction.on_commit(lambda: Order.objects.filter(id=order_id).update(total=99))
"""
CONFTEST = pages.files("docs/django.md", "kit")
BOTH = """
import os
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from store.jobs import break_rule, break_rule_once, copy, note
from store.models import Order
from workshed import schedule

COMMITS = "TEST_COMMITS" in os.environ
pytestmark = pytest.mark.django_db(transaction=COMMITS)


def totals():
    return sorted(Order.objects.values_list("total", flat=True))


@pytest.fixture
def order():
    assert totals() == []  # the test before has left nothing
    return Order.objects.create(total=5)


def test_a_send_is_seen_and_its_job_sees_the_data_of_the_test(order, jobs):
    copy.send(order.id)

    jobs.assert_enqueued(copy, order.id)
    assert jobs.drain() == 2
    assert totals() == [-2, 5, 6]
    assert [run.outcome.kind for run in jobs.runs] == ["succeeded", "succeeded"]


def test_a_job_can_be_performed(order, jobs):
    jobs.perform(copy, order.id)

    assert totals() == [5, 6]
    jobs.assert_enqueued(note, 5)


def test_sends_of_a_block_that_is_rolled_back_vanish(order, jobs):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        copy.send(order.id)
        note.send_with_options(args=(1,), delay=60_000)
        schedule.send(connection, note.message(2))
        1 / 0
    with transaction.atomic():
        note.send(3)

    jobs.refute_enqueued(copy)
    jobs.assert_enqueued(note, 3)
    assert len(jobs.enqueued) == 1


def test_the_clock_moves(order, jobs):
    schedule.send(connection, note.message(2), delay=timedelta(days=2))
    assert jobs.drain() == 0

    jobs.advance(days=3)

    assert jobs.drain() == 1


@pytest.mark.parametrize("actor", [break_rule, break_rule_once])
def test_a_job_that_breaks_a_constraint_dies_and_the_test_goes_on(actor, order, jobs):
    actor.send(7)

    with pytest.raises(IntegrityError):
        jobs.drain()

    assert [dead.error_class for dead in jobs.dead] == ["IntegrityError"]
    assert totals() == ([5, 7] if COMMITS and actor is break_rule else [5])


def test_a_job_that_fails_once_keeps_the_test_usable(order, jobs):
    jobs.fail_next(copy, OSError("no"))
    copy.send(order.id)

    with jobs.expect_retry():
        jobs.drain()
    jobs.advance(hours=1)
    jobs.drain()

    assert totals() == [-2, 5, 6]
"""
ROLLED_BACK = """
import pytest
from django.db import IntegrityError, connection, transaction
from store.jobs import announce, announce_and_break, announce_and_fail, copy, give_up, note, swallow
from store.models import Order
from workshed import db as workshed_db
from workshed.testing.errors import KitError


def totals():
    return sorted(Order.objects.values_list("total", flat=True))


@pytest.mark.django_db
def test_an_error_that_the_job_has_caught_is_reported(jobs):
    swallow.send(7)

    with pytest.raises(transaction.TransactionManagementError, match="of its own, or use a"):
        jobs.drain()

    assert totals() == []


@pytest.mark.django_db
def test_a_job_that_runs_once_fails_if_django_would_roll_it_back(jobs):
    give_up.send(7)

    with pytest.raises(transaction.TransactionManagementError, match="transaction of this job is"):
        jobs.drain()

    assert totals() == []


@pytest.mark.django_db
def test_functions_of_on_commit_are_captured(jobs, django_capture_on_commit_callbacks):
    order = Order.objects.create(total=5)
    announce.send(order.id)
    with django_capture_on_commit_callbacks(execute=True):
        jobs.drain()
        assert totals() == [5]

    assert totals() == [99]


@pytest.mark.django_db
@pytest.mark.parametrize(("actor", "words"), [(announce_and_fail, ()), (announce_and_break, (7,))])
def test_functions_of_on_commit_end_with_a_job_that_is_rolled_back(
    actor, words, jobs, django_capture_on_commit_callbacks
):
    actor.send(*words)
    with django_capture_on_commit_callbacks(execute=True):
        with pytest.raises((ZeroDivisionError, IntegrityError)):
            jobs.drain()

    assert totals() == []


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["commit", "rollback"])
def test_the_transaction_of_the_test_cannot_be_ended(method, jobs):
    Order.objects.create(total=5)
    with pytest.raises(transaction.TransactionManagementError, match=f"{method}.. would"):
        with workshed_db.transaction() as conn:
            getattr(conn, method)()

    assert totals() == [5]


@pytest.mark.django_db
@pytest.mark.jobs(mode="inline")
def test_inline_jobs_run_after_the_commit_of_a_block(jobs, django_capture_on_commit_callbacks):
    order = Order.objects.create(total=5)
    with django_capture_on_commit_callbacks(execute=True):
        with transaction.atomic():
            copy.send(order.id)
            with workshed_db.transaction() as conn:
                conn.execute("SELECT 1")
            assert totals() == [5]
        assert totals() == [5]
    assert totals() == [-2, 5, 6]

    note.send(7)  # not in a block: at once
    assert totals() == [-3, -2, 5, 6]


@pytest.mark.django_db
def test_a_time_limit_of_a_job_does_not_outlive_it(jobs):
    def limit():
        with connection.cursor() as cursor:
            return cursor.execute("SHOW statement_timeout").fetchone()

    before = limit()
    jobs.perform(note, 1)

    assert limit() == before


def test_jobs_may_come_before_the_database(jobs, db):
    note.send(1)
    jobs.advance(hours=1)

    assert jobs.drain() == 1
    assert totals() == [0]


def test_without_a_transaction_nothing_is_shared(jobs):
    assert jobs.enqueued == []
    note.send(1)
    assert len(jobs.enqueued) == 1


@pytest.mark.django_db
def test_idempotence_needs_commits(jobs):
    with pytest.raises(KitError, match="transaction=True"):
        jobs.assert_idempotent(note, 1)


@pytest.mark.django_db
def test_a_real_worker_needs_commits(jobs_kit):
    with pytest.raises(KitError, match="transaction=True"):
        with jobs_kit.test(lambda: None, mode="real"):
            pass


@pytest.mark.django_db(transaction=True)
def test_idempotence_of_the_orm(jobs):
    order = Order.objects.create(total=5)

    jobs.assert_idempotent(copy, order.id)
"""
CLASSES = """
from asgiref.sync import sync_to_async
from django.db import transaction
from django.test import TestCase, TransactionTestCase
from store.jobs import copy, copy_async, note
from store.models import Order
from workshed.contrib.django.testing import JobsMixin


def totals():
    return sorted(Order.objects.values_list("total", flat=True))


class RolledBackTest(JobsMixin, TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.order = Order.objects.create(total=5)

    def test_a_job_sees_the_data_of_the_class(self):
        copy.send(self.order.id)

        self.jobs.assert_enqueued(copy, self.order.id)
        self.assertEqual(self.jobs.drain(), 2)
        self.assertEqual(totals(), [-2, 5, 6])

    def test_an_async_job_sees_them_too(self):
        copy_async.send(self.order.id)

        self.assertEqual(self.jobs.drain(), 2)
        self.assertEqual(totals(), [-2, 5, 6])

    async def test_an_async_test_can_run_it(self):
        await sync_to_async(copy_async.send)(self.order.id)

        self.assertEqual(await sync_to_async(self.jobs.drain)(), 2)
        self.assertEqual(await sync_to_async(totals)(), [-2, 5, 6])

    def test_another_sees_nothing_of_it(self):
        self.assertEqual(totals(), [5])
        self.assertEqual(self.jobs.enqueued, [])
        self.jobs.advance(days=1)
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            copy.send(self.order.id)
            1 / 0
        self.assertEqual(self.jobs.enqueued, [])

    def test_a_captured_send(self):
        with self.captureOnCommitCallbacks() as callbacks, transaction.atomic():
            copy.send(self.order.id)
        self.assertEqual(callbacks, [])
        self.jobs.assert_enqueued(copy, self.order.id)


class ClassSendTest(JobsMixin, TestCase):
    @classmethod
    def setUpTestData(cls):
        with transaction.atomic():
            note.send(7)

    def test_a_send_in_a_block_is_part_of_the_data_of_the_class(self):
        self.jobs.assert_enqueued(note, 7)
        self.assertEqual(self.jobs.drain(), 1)

    def test_each_test_has_it(self):
        self.test_a_send_in_a_block_is_part_of_the_data_of_the_class()


class InlineTest(JobsMixin, TestCase):
    jobs_mode = "inline"

    def test_a_job_runs_after_the_block(self):
        order = Order.objects.create(total=5)
        with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
            copy.send(order.id)
            self.assertEqual(totals(), [5])
        self.assertEqual(totals(), [-2, 5, 6])


class CommittedTest(JobsMixin, TransactionTestCase):
    def test_a_job_sees_what_was_committed(self):
        self.assertEqual(totals(), [])
        self.assertEqual(self.jobs.enqueued, [])
        with transaction.atomic():
            copy.send(Order.objects.create(total=5).id)
        self.assertEqual(self.jobs.drain(), 2)
        self.assertEqual(totals(), [-2, 5, 6])
        note.send(1)

    def test_it_left_nothing(self):
        self.test_a_job_sees_what_was_committed()
"""
TWO_DATABASES = """
from settings import *

other = DATABASES["default"]["NAME"] + "_other"
DATABASES["other"] = {**DATABASES["default"], "NAME": other}
"""
OTHER = """
from django.test import TestCase
from store.jobs import copy
from store.models import Order
from workshed.contrib.django.testing import JobsMixin


class OtherTest(JobsMixin, TestCase):
    databases = {"default", "other"}

    def test_a_test_uses_both(self):
        Order.objects.using("other").create(total=1)
        copy.send(Order.objects.create(total=5).id)

        self.assertEqual(self.jobs.drain(), 2)
        self.assertEqual(Order.objects.using("other").count(), 1)
"""
FIXTURE_IN_CLASS = """
import pytest
from django.test import TestCase
from store.jobs import copy
from store.models import Order


class FixtureTest(TestCase):
    @pytest.fixture(autouse=True)
    def use_jobs(self, jobs):
        self.jobs = jobs

    def test_a_job(self):
        copy.send(Order.objects.create(total=5).id)

        assert self.jobs.drain() == 2
        assert Order.objects.count() == 3

    def test_it_left_nothing(self):
        assert Order.objects.count() == len(self.jobs.enqueued) == 0
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory, site_database, site_broker):
    """A project with tests; RabbitMQ is needed for none of them."""
    files = {
        "store/jobs.py": JOBS,
        "tests_pytest/test_both.py": BOTH,
        "tests_pytest/test_rolled_back.py": ROLLED_BACK,
        "tests_pytest/test_class.py": FIXTURE_IN_CLASS,
        "store/tests.py": CLASSES,
        "two_databases.py": TWO_DATABASES,
        "other/tests.py": OTHER,
        **{f"tests_pytest/{name}": text for name, text in CONFTEST.items()},
    }
    site = Site(tmp_path_factory.mktemp("kit"), site_database, "amqp://127.0.0.1:9", files)
    paths = [str(installed("pytest-django==4.14.0")), site.environment["PYTHONPATH"]]
    site.environment["PYTHONPATH"] = os.pathsep.join(paths)
    site.manage("makemigrations", "store")
    return site


def pytest_of(site, *words, **variables):
    return site.run("-m", "pytest", "-q", "-p", "no:cacheprovider", *words, **variables)


def test_functions_of_pytest_django_have_the_kit(site):
    assert "23 passed" in pytest_of(site, "tests_pytest")


def test_it_does_the_same_where_transactions_commit(site):
    assert "7 passed" in pytest_of(site, "tests_pytest/test_both.py", TEST_COMMITS="1")


def test_classes_of_unittest_have_it_in_pytest_as_well(site):
    assert "10 passed" in pytest_of(site, "store/tests.py")


@pytest.mark.parametrize("words", [[], ["--parallel", "2"], ["--keepdb"]])
def test_classes_of_unittest_have_the_kit(site, words):
    said = site.manage("test", "store", "--noinput", *words)

    assert "Ran 10 tests" in said
    assert "OK" in said


def test_tests_may_use_each_database_that_they_create(site):
    said = site.manage("test", "other", "--noinput", DJANGO_SETTINGS_MODULE="two_databases")

    assert "Ran 1 test" in said


def test_the_kit_refuses_a_database_that_no_tests_have_created(site):
    """It would empty the tables of the application."""
    code = "from workshed.contrib.django import testing; testing.open_created_kit().__enter__()"

    said = site.manage("shell", "-c", code, code=1)

    assert "Django's tests have created no database for WORKSHED['DATABASE']='default'" in said
