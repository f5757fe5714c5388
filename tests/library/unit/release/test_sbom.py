"""The subject of the bill of materials depends on everything that its extras need."""

import tomllib
from email import message_from_string

from tools.release.sbom import list_extras, render_subject

SAID = message_from_string("""\
Name: workshed
Version: 1.2.3
Summary: Jobs that are "never" lost
License-Expression: MIT
Provides-Extra: server
Provides-Extra: dev
Requires-Dist: pika>=1.4.4
Requires-Dist: typer>=0.26; extra == 'server'
Requires-Dist: typer>=0.26; extra == 'dev'
Requires-Dist: tzdata; sys_platform == 'win32'
""")


def test_it_includes_what_extras_need_once():
    assert tomllib.loads(render_subject(SAID)) == {
        "project": {
            "name": "workshed",
            "version": "1.2.3",
            "description": 'Jobs that are "never" lost',
            "license": "MIT",
            "dependencies": ["pika>=1.4.4", "typer>=0.26", 'tzdata; sys_platform == "win32"'],
        }
    }


def test_all_extras_are_installed_for_it():
    assert list_extras(SAID) == ["dev", "server"]
