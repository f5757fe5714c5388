"""The examples of README, run as they stand there."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent.parent / "README.md"
BLOCK = re.compile(r"<!-- file: (\S+) -->\n```(?:python|sql)\n(.*?)```", re.DOTALL)

SEND = {
    "script.py": "import script",
    "orders.py": "import orders; orders.place_order()",
    "fan_out.py": "import fan_out; fan_out.invoice_all([1])",
    "from_asyncio.py": "import asyncio, from_asyncio; asyncio.run(from_asyncio.invoice(1))",
    "flask_app.py": (
        "import flask_app\n"
        "answer = flask_app.app.test_client().post('/orders')\n"
        "assert answer.status_code == 201, answer"
    ),
    "fastapi_app.py": (
        "import fastapi_app\n"
        "from fastapi.testclient import TestClient\n"
        "answer = TestClient(fastapi_app.app).post('/orders')\n"
        "assert answer.status_code == 201, answer"
    ),
    "django_views.py": (
        "import django, os\n"
        "from django.conf import settings\n"
        "from psycopg.conninfo import conninfo_to_dict\n"
        "url = conninfo_to_dict(os.environ['WORKSHED_DATABASE_URL'])\n"
        "database = {'ENGINE': 'django.db.backends.postgresql', 'NAME': url.pop('dbname'),\n"
        "            **{name.upper(): value for name, value in url.items()}}\n"
        "settings.configure(DATABASES={'default': database})\n"
        "django.setup()\n"
        "from django.test import RequestFactory\n"
        "import django_views\n"
        "answer = django_views.create_order(RequestFactory().post('/'))\n"
        "assert answer.status_code == 201, answer"
    ),
    "sqlalchemy_orders.py": (
        "import os, sqlalchemy, sqlalchemy_orders\n"
        "url = sqlalchemy.make_url(os.environ['WORKSHED_DATABASE_URL'])\n"
        "engine = sqlalchemy.create_engine(url.set(drivername='postgresql+psycopg2'))\n"
        "with sqlalchemy_orders.Session(engine) as session:\n"
        "    sqlalchemy_orders.place_order(session)"
    ),
    "async_sqlalchemy_orders.py": (
        "import asyncio, os, sqlalchemy, async_sqlalchemy_orders\n"
        "from sqlalchemy.ext.asyncio import create_async_engine\n"
        "url = sqlalchemy.make_url(os.environ['WORKSHED_DATABASE_URL'])\n"
        "engine = create_async_engine(url.set(drivername='postgresql+asyncpg'))\n"
        "async def main():\n"
        "    async with async_sqlalchemy_orders.AsyncSession(engine) as session:\n"
        "        await async_sqlalchemy_orders.place_order(session)\n"
        "    await engine.dispose()\n"
        "asyncio.run(main())"
    ),
    "async_orders.py": (
        "import asyncio, os, psycopg, async_orders\n"
        "async def main():\n"
        "    url = os.environ['WORKSHED_DATABASE_URL']\n"
        "    async with await psycopg.AsyncConnection.connect(url) as conn:\n"
        "        await async_orders.place_order(conn)\n"
        "asyncio.run(main())"
    ),
    "orders.sql": (
        "import os, pathlib, psycopg\n"
        "with psycopg.connect(os.environ['WORKSHED_DATABASE_URL']) as conn:\n"
        "    conn.execute(pathlib.Path('orders.sql').read_text())"
    ),
}


@pytest.fixture
def project(tmp_path, conn):
    """A folder with the files of README, and the table their example works on."""
    for name, text in BLOCK.findall(README.read_text("utf-8")):
        (tmp_path / name).write_text(text)
    conn.autocommit = True
    conn.execute("CREATE SCHEMA shop")
    conn.execute(
        "CREATE TABLE shop.orders ("
        "  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
        "  invoiced boolean NOT NULL DEFAULT false)"
    )
    return tmp_path


def test_every_example_is_run_here():
    assert {name for name, _ in BLOCK.findall(README.read_text("utf-8"))} == {
        "shop_actors.py",
        *SEND,
    }


@pytest.mark.parametrize("name", SEND)
def test_an_example_sends_and_its_job_runs(
    name, project, start_worker, run, environment, conn, count, eventually
):
    if name in ("script.py", "fan_out.py", "from_asyncio.py"):
        conn.execute("INSERT INTO shop.orders DEFAULT VALUES")
    start_worker("shop_actors")

    code, said = run("-c", SEND[name], **environment)

    assert code == 0, said
    eventually(lambda: count("shop.orders WHERE invoiced") == 1, within_s=20)
