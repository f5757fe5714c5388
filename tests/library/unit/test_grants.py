"""Rights that an application adds to the roles of `workshed roles`."""

import pytest

from workshed.errors import SettingsError
from workshed.roles import OWN_GRANTS, Grants, grant_script


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"tables": {"workshed.dead": {"worker": "r"}}},
            "SELECT ON TABLE workshed.dead is not of schema",
        ),
        (
            {"tables": {"zoo.birds": {"keeper": "r"}}},
            "'keeper' is not a role; there are sender, application",
        ),
        ({"tables": {"zoo.birds": {"worker": "rx"}}}, "'x' of zoo.birds is none of r, a, w, d"),
        (
            {"tables": {}, "columns": {"zoo.birds": {"worker": {"x": "id"}}}},
            "'x' of zoo.birds is none of r, a, w, d",
        ),
        ({"tables": {}, "sequences": {"ids": ("worker",)}}, "USAGE ON SEQUENCE ids is not of"),
    ],
)
def test_impossible_grants_are_refused_where_they_are_written(more, said):
    with pytest.raises(SettingsError, match=said):
        Grants(schema="zoo", **more)


def test_rights_are_granted_after_all_others_are_revoked():
    zoo = Grants(
        schema="zoo",
        tables={"zoo.birds": {"worker": "rw"}},
        columns={"zoo.birds": {"reader": {"r": "id, name"}}},
        functions={"zoo.feed": ("worker",)},
        sequences={"zoo.ids": ("worker",)},
    )

    lines = list(grant_script("w", [OWN_GRANTS, zoo]))

    assert [line for line in lines if " zoo." in line] == [
        "GRANT SELECT, UPDATE ON TABLE zoo.birds TO w_worker;",
        "GRANT SELECT (id, name) ON TABLE zoo.birds TO w_reader;",
        "GRANT EXECUTE ON FUNCTION zoo.feed TO w_worker;",
        "GRANT USAGE ON SEQUENCE zoo.ids TO w_worker;",
    ]
    revoked = [n for n, line in enumerate(lines) if line.startswith("REVOKE ALL ON ALL")]
    granted = [n for n, line in enumerate(lines) if " ON TABLE " in line]
    assert max(revoked) < min(granted)


def test_two_grants_of_one_schema_do_not_undo_each_other():
    one = Grants(schema="zoo", tables={"zoo.birds": {"worker": "r"}})
    other = Grants(schema="zoo", tables={"zoo.fish": {"worker": "r"}})

    lines = list(grant_script("w", [one, other]))

    assert sum(line.startswith("REVOKE ALL ON ALL TABLES") for line in lines) == 1
    assert "GRANT SELECT ON TABLE zoo.birds TO w_worker;" in lines
    assert "GRANT SELECT ON TABLE zoo.fish TO w_worker;" in lines
