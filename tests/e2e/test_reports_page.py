"""docs/reports.md: its example, run with real workers."""

import re
from pathlib import Path

import pytest

from actors import activate
from workshed import db, people
from workshed.settings import PREFIX, Settings, settings

PAGE = (Path(__file__).parents[2] / "docs" / "reports.md").read_text("utf-8")
[(NAME, TEXT)] = re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", PAGE, re.DOTALL)
[SUBJECT] = re.findall(r"The mail's subject is then `(.+?)`", PAGE)


@pytest.fixture
def grace(broker, environment, tmp_path, monkeypatch):
    """Whom the page makes an admin."""
    monkeypatch.setenv("WORKSHED_STORAGE_URL", f"file:{tmp_path}/contents")
    settings.cache_clear()
    with db.transaction() as conn:
        user = people.create(conn, name="Grace", email="grace@example.org")
        activate(conn, user.id)


def test_the_example_of_the_page_is_mailed(
    grace, tmp_path, run, environment, start_worker, mail_server, eventually
):
    (tmp_path / NAME).write_text(TEXT)
    start_worker()

    code, said = run(NAME, **environment)

    assert code == 0, said
    (mail,) = eventually(lambda: mail_server.received, within_s=60)
    assert mail.recipients == ("grace@example.org",)
    assert mail.message["Subject"] == SUBJECT


def test_the_settings_of_the_page_are_those_there_are():
    names = set(re.findall(rf"`{PREFIX}(REPORT_\w+)`", PAGE))

    assert names == {name.upper() for name in Settings.model_fields if name.startswith("report_")}
