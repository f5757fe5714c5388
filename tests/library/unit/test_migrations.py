"""Migrations only add, so that workers of the previous release can use the new tables.

A later release removes what is no longer used. Its file says so with
`-- Last used in 0.4.0.` before the statement.
"""

import re

import pytest

from workshed import __version__
from workshed.migrate import list_migrations, list_streams

SQL = {f"{one.stream}/{one.name}": one.sql for one in list_migrations(list_streams())}
BODY = re.compile(r"\bAS (\$\w*\$).*?\1", re.DOTALL | re.IGNORECASE)
ANYWHERE = re.IGNORECASE | re.MULTILINE
COMMENT = re.compile(r"--.*$", re.MULTILINE)
LAST_USED = re.compile(r"-- Last used in (\d+)\.(\d+)\.(\d+)\.")
ADDED = re.compile(r"\bADD COLUMN (.*?)(?=,\s*(?:ADD|ALTER|DROP|RENAME|VALIDATE)\b|$)", re.DOTALL)
TAKES_AWAY = {
    "takes away": r"\bDROP (?!INDEX\b|NOT NULL\b|DEFAULT\b)",
    "renames": r"\bRENAME\b",
    "changes a type": r"\bALTER (?:COLUMN )?\w+ (?:SET DATA )?TYPE\b",
    "refuses NULL": r"\bSET NOT NULL\b",
    "refuses what is written": r"\bADD (?:CONSTRAINT|CHECK|UNIQUE|FOREIGN|EXCLUDE|PRIMARY)\b",
    "moves": r"\bSET SCHEMA\b",
    "empties": r"^\s*(?:TRUNCATE|DELETE)\b",
}


def harm(sql):
    """Return the harm that statements do to workers of the previous release, unless excused."""
    found = []
    said = COMMENT.sub(lambda comment: comment[0].replace(";", ","), BODY.sub("", sql))
    for statement in said.split(";"):
        code = COMMENT.sub("", statement)
        wrong = [what for what, words in TAKES_AWAY.items() if re.search(words, code, ANYWHERE)]
        if any("NOT NULL" in one and "DEFAULT" not in one for one in ADDED.findall(code)):
            wrong.append("adds a column that must be given")
        if wrong and not is_excused(statement):
            found += [f"{what}: {' '.join(code.split())}" for what in wrong]
    return found


def is_excused(statement):
    """Return whether it names an earlier release as the last one that used it."""
    said = LAST_USED.search(statement)
    return said is not None and tuple(map(int, said.groups())) < release()


def release():
    return tuple(map(int, re.findall(r"\d+", __version__)[:3]))


@pytest.mark.parametrize("name", SQL)
def test_a_migration_only_adds(name):
    assert harm(SQL[name]) == []


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("DROP TABLE workshed.old", "takes away"),
        ("ALTER TABLE workshed.dead DROP COLUMN place", "takes away"),
        ("ALTER TABLE workshed.dead DROP place", "takes away"),
        ("DROP FUNCTION workshed.send(text)", "takes away"),
        ("ALTER TABLE workshed.dead RENAME COLUMN place TO at", "renames"),
        ("ALTER TABLE workshed.dead ALTER COLUMN place TYPE bytea", "changes a type"),
        ("ALTER TABLE workshed.dead ALTER place SET DATA TYPE bytea", "changes a type"),
        ("ALTER TABLE workshed.dead ALTER COLUMN place SET NOT NULL", "refuses NULL"),
        ("ALTER TABLE workshed.dead ADD COLUMN why text NOT NULL", "must be given"),
        ("ALTER TABLE a ADD COLUMN b int NOT NULL, ADD COLUMN c int DEFAULT 1", "must be given"),
        ("ALTER TABLE a ADD CONSTRAINT b CHECK (c > 0)", "refuses what is written"),
        ("ALTER TABLE a ADD UNIQUE (b)", "refuses what is written"),
        ("ALTER TABLE a SET SCHEMA b", "moves"),
        ("-- All of it; or most.\nDELETE FROM a", "empties"),
        ("-- Last used in 99.0.0.\nDROP TABLE a", "takes away"),
        ("-- It is used no more.\nDROP TABLE a", "takes away"),
        ("-- Last used in 0.0.1.\nDROP TABLE a; DROP TABLE b", "takes away: DROP TABLE b"),
    ],
)
def test_harm_to_workers_of_the_previous_release_is_found(sql, what):
    [found] = harm(sql)

    assert what in found


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE a ADD COLUMN b int NOT NULL DEFAULT 0, ADD COLUMN c text",
        "CREATE TABLE a (b int NOT NULL CHECK (b > 0))",
        "DROP INDEX a; CREATE INDEX a ON b (c)",
        "ALTER TABLE a ALTER COLUMN b DROP NOT NULL",
        "CREATE FUNCTION a() RETURNS void LANGUAGE sql AS $$ DROP TABLE b; DELETE FROM c $$",
        "-- Last used in 0.0.1.\nALTER TABLE a DROP COLUMN b",
    ],
)
def test_additions_and_removals_of_unused_parts_are_no_harm(sql):
    assert harm(sql) == []
