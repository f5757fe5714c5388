"""What the tool that moves modules rewrites, and what it refuses to rewrite."""

import subprocess
import sys

import pytest

from tools.moves import PlanError, apply_plan

PLAN = """
[modules]
"mail.link" = "post.amqp.connection"
"mail.wire" = "post.wire"
"letters" = "post.letters"

[packages]
"post" = "Post."
"post.amqp" = "AMQP."
"""

FILES = {
    "mail/__init__.py": '"""Mail."""\n',
    "mail/link.py": '"""A link."""\n\nfrom mail import wire\n\n\nclass Link:\n    to = wire.END\n',
    "mail/wire.py": '"""A wire."""\n\nEND = 1\n',
    "letters/__init__.py": '"""Letters."""\n\nfrom mail.link import Link as Link\n',
    "letters/stamps.py": '"""Stamps."""\n',
    "letters/paper/__init__.py": '"""Paper."""\n\nWHITE = 1\n',
    "letters/paper/kinds.py": '"""Kinds."""\n',
    "letters/sql/stamps.sql": "SELECT 1;  -- for mail.link\n",
    "user.py": (
        '"""Uses mail.link.Link, see mail/link.py; mail.links is another one."""\n\n'
        "import mail.wire\nfrom letters import Link\n"
        "from mail import (  # both\n    link,\n    wire,\n)\n"
        "from letters.paper import WHITE, kinds\n\n\n"
        "def first():\n    from letters import stamps\n\n"
        "    assert WHITE, kinds\n"
        "    texts = 'mail.wire:END', b'mail.wire'\n"
        "    return stamps, link.Link, wire.END, mail.wire.END, Link, *texts\n"
    ),
    "taken.py": "from mail import link\n\nconnection = link.Link\n",
    "page.md": "`mail.link` is `mail/link.py`; not email.link, mail.linked or letters.\n",
    "code.md": "if it:\n    from mail import END, link, wire as line\nfrom mail import END\n",
}


@pytest.fixture
def clone(tmp_path):
    """A repository of a few modules."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    for words in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    return tmp_path


def run(clone, text):
    return subprocess.run(
        [sys.executable, "-B", "-c", text], cwd=clone, capture_output=True, text=True, check=True
    ).stdout


def test_code_that_imports_a_moved_module_works_as_before(clone):
    show = "import user; print([str(getattr(x, '__name__', x)) for x in user.first()][1:])"
    before = run(clone, show)

    apply_plan(clone, PLAN)

    assert run(clone, show) == before.replace("mail.wire", "post.wire")
    text = (clone / "user.py").read_text()
    assert "connection.Link, wire.END, post.wire.END" in text
    assert "Uses post.amqp.connection.Link, see post/amqp/connection.py; mail.links is" in text


def test_a_module_may_move_into_a_package_of_its_name(clone):
    """Its new name begins with the old one, and must not be rewritten a second time."""
    plan = PLAN.replace('"post.wire"', '"mail.wire.wire"') + '"mail.wire" = "Wires."\n'

    apply_plan(clone, plan)

    assert run(clone, "import user; print(user.wire.__name__)") == "mail.wire.wire\n"


def test_a_folder_without_init_moves_as_a_package_except_for_modules_with_rules_of_their_own(clone):
    for name in ("pens/ink/blue.py", "pens/ink/red.py", "pens/quill.txt"):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_text("")
    (clone / "page.md").write_text("pens/ink/red.py, pens.ink.blue, pens/ink and pens/quill.txt\n")
    subprocess.run(["git", "-C", str(clone), "add", "-A"], check=True)
    rules = '"pens.ink" = "pens.old.ink"\n"pens.ink.red" = "pens.new.ink.red"'

    apply_plan(clone, f"[modules]\n{rules}\n")

    assert sorted(str(one.relative_to(clone)) for one in clone.rglob("pens/**/*.*")) == [
        "pens/new/ink/red.py",
        "pens/old/ink/blue.py",
        "pens/quill.txt",
    ]
    assert (clone / "page.md").read_text() == (
        "pens/new/ink/red.py, pens.old.ink.blue, pens/old/ink and pens/quill.txt\n"
    )


def test_a_text_has_the_new_names_and_paths(clone):
    apply_plan(clone, PLAN)

    assert (clone / "page.md").read_text() == (
        "`post.amqp.connection` is `post/amqp/connection.py`; "
        "not email.link, mail.linked or letters.\n"
    )
    assert (clone / "code.md").read_text() == (
        "if it:\n    from mail import END\n    from post.amqp import connection as link\n"
        "    from post import wire as line\nfrom mail import END\n"
    )
    assert (clone / "post" / "amqp" / "__init__.py").read_text() == '"""AMQP."""\n'
    migration = clone / "post" / "letters" / "sql" / "stamps.sql"
    assert migration.read_text() == FILES["letters/sql/stamps.sql"]  # its checksum is stored
    assert not [one for one in (clone / "letters").rglob("*") if one.is_file()]


def test_a_name_that_is_in_use_is_kept_and_reported(clone):
    assert apply_plan(clone, PLAN) == ["taken.py:1: connection as link"]
    assert (
        run(clone, "import taken; print(taken.connection.__module__)") == "post.amqp.connection\n"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"mail.wire" = "post.wire"', '"mail.wires" = "post.wire"', "no such modules: mail.wires"),
        ('"post.wire"', '"post.amqp.connection"', "one name: post.amqp.connection"),
        ('"post.amqp" =', '"post.tcp" =', "no docstring for the packages post.amqp"),
    ],
)
def test_a_wrong_plan_changes_nothing(clone, old, new, message):
    with pytest.raises(PlanError, match=message):
        apply_plan(clone, PLAN.replace(old, new))

    assert {name: (clone / name).read_text() for name in FILES} == FILES


def test_code_that_would_mean_something_else_is_refused(clone):
    """Here `mail` is not a module, and the text cannot show that."""
    (clone / "mine.py").write_text("def send(mail):\n    return mail.link\n")
    subprocess.run(["git", "-C", str(clone), "add", "-A"], check=True)

    with pytest.raises(PlanError, match=r"mine\.py: more than names .*\n.*mail\.link\n.*post\."):
        apply_plan(clone, PLAN)
