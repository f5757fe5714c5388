"""docs/django-tasks.md: a project runs its files as printed."""

import json

import pytest

from tests import pages
from tests.library.e2e.django_sites.task_project import ASK, MANAGE, SETTINGS, TaskSite

PAGE = pages.files("docs/django-tasks.md")
MODELS = """
from django.db import models


class Order(models.Model):
    total = models.IntegerField()
    receipt_sent = models.BooleanField(default=False)


class Invoice(models.Model):
    order = models.ForeignKey(Order, models.CASCADE)
    total = models.IntegerField()
"""
ORDER = """
    import json
    from django.test import RequestFactory
    from store.views import create_order, show_invoice
    response = create_order(RequestFactory().post("/", {"total": 30}))
    return json.loads(response.content)["result"]
"""
SHOW = """
    import json
    from django.test import RequestFactory
    from store.views import show_invoice
    return json.loads(show_invoice(RequestFactory().get("/", {"result": RESULT})).content)
"""
FILES = {
    "manage.py": MANAGE,
    "settings.py": f"{SETTINGS.replace('shop', 'store')}\n{PAGE['tasks_settings.py']}",
    "store/__init__.py": "",
    "store/models.py": MODELS,
    "store/tasks.py": PAGE["store/tasks.py"],
    "store/views.py": PAGE["store/views.py"],
    "store/migrations/__init__.py": "",
    "store/management/__init__.py": "",
    "store/management/commands/__init__.py": "",
    "store/management/commands/ask.py": ASK.replace(
        "from shop import tasks\nfrom shop.models import Mark\n", "from store.models import Order\n"
    ),
}


@pytest.fixture
def store(tmp_path, empty_database_url, vhost):
    """The project of the page."""
    made = TaskSite(tmp_path / "store", empty_database_url, vhost, FILES)
    yield made
    made.stop()


def test_an_order_has_its_invoice_and_the_result_says_so(store, eventually):
    store.manage("makemigrations", "store")
    store.manage("migrate")
    ask = store.open_shell().ask
    result = ask(ORDER)
    assert ask(SHOW.replace("RESULT", repr(result))) == {"status": "READY", "value": None}

    store.start("workshed", "worker", "-p", "1", "-t", "2")

    shown = eventually(
        lambda: (
            (found := ask(SHOW.replace("RESULT", repr(result))))["status"] == "SUCCESSFUL" and found
        )
    )
    assert shown["value"]["attempt"] == 1
    eventually(lambda: ask("return Order.objects.get().receipt_sent"))
    waiting = json.loads(store.manage("workshed", "scheduled", "--json"))
    assert "store.tasks.count_orders" in json.dumps(waiting)
