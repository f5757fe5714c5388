"""Campaigns on the console: the outcome of each email, and the actions on them."""

import pytest

import actors
from shop import campaigns
from tests.service.integration.campaigns.conftest import HTML, TEXT, Post
from workshed import db
from workshed.jobs.control import audit

pytestmark = pytest.mark.usefixtures("database", "broker")

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def post(database):
    return Post()


@pytest.fixture
def sending(operator, post, conn):
    """`sending(unknown=2, sent=1)`: start a campaign with recipients in these states; its id."""

    def begin(name="News", **states):
        post.people(sum(states.values()), prefix=f"u{name.encode().hex()}")
        number = post.draft(name=name)
        post.start(number)
        actors.campaigns.begin_campaign(number)
        for state, count in states.items():
            query = """
                UPDATE shop.campaign_recipients SET state = %(state)s, reason = %(reason)s
                 WHERE campaign_id = %(id)s AND user_id IN (
                       SELECT user_id FROM shop.campaign_recipients
                        WHERE campaign_id = %(id)s AND state = 'waiting' AND reason IS NULL
                        ORDER BY user_id LIMIT %(count)s)
            """
            reason = None if state in ("waiting", "sent") else f"because {SCRIPT}"
            values = {"id": number, "state": state, "count": count, "reason": reason}
            conn.execute(query, values)
        return number

    return begin


@pytest.fixture
def entries(conn):
    """`entries()`: the audit's entries as (action, count, about), latest first."""
    return lambda: [(one.action, one.count, one.details) for one in audit.list_entries(conn)]


def state_of(browser, number):
    return browser.json(f"/campaign?id={number}")["campaign"]["state"]


def test_without_campaigns_the_page_says_how_to_make_one(reader):
    assert "python -m shop campaigns add" in reader.get("/campaigns").text
    assert reader.json("/campaigns") == {"campaigns": [], "older": None}


def test_a_draft_is_shown_with_its_templates(reader, post):
    number = post.draft(name=f"News {SCRIPT}", subject=f"For {SCRIPT}")

    shown = reader.json(f"/campaign?id={number}")

    assert shown["campaign"]["state"] == "draft"
    assert shown["campaign"]["recipients"]["total"] == 0
    assert shown["templates"] == {"text": TEXT, "html": HTML}
    for path in ("/campaigns", f"/campaign?id={number}"):
        text = reader.get(path).text
        assert SCRIPT not in text
        assert "News &lt;script&gt;" in text
    assert f"python -m shop campaigns start {number}" in text


def test_a_campaign_is_shown_with_its_progress(operator, sending):
    number = sending(waiting=2, sent=3, rejected=1)

    [listed] = operator.json("/campaigns")["campaigns"]
    shown = operator.json(f"/campaign?id={number}")

    assert listed["recipients"]["total"] == 6
    assert listed["recipients"]["ended"] == 4
    assert shown["campaign"]["recipients"] == listed["recipients"]
    assert [(one["state"], one["reason"]) for one in shown["recipients"]] == [
        ("rejected", f"because {SCRIPT}")
    ]
    for path in ("/campaigns", f"/campaign?id={number}"):
        text = operator.get(path).text
        assert '<rect data-state="rejected"' in text
        assert "1 rejected" in text
        assert SCRIPT not in text


def test_recipients_of_a_large_campaign_that_is_over_are_counted_on_its_page(
    operator, sending, conn, monkeypatch
):
    number = sending(sent=3)
    conn.execute(
        "UPDATE shop.campaigns SET state = 'sent', ended_at = workshed.now(), batch = NULL"
    )

    counts = []
    for small in (3, 2):
        monkeypatch.setattr("shop.web.pages.campaigns.MAX_COUNTED", small)
        counts.append(operator.json("/campaigns")["campaigns"][0]["recipients"])

    assert counts[0]["sent"] == 3
    assert counts[1] is None
    assert "counted on its own page" in operator.get("/campaigns").text
    assert operator.json(f"/campaign?id={number}")["campaign"]["recipients"]["sent"] == 3


def test_the_list_goes_on(reader, post):
    ids = [post.draft() for _ in range(21)]

    first = reader.json("/campaigns")
    rest = reader.json(f"/campaigns?before={first['older']}")

    assert [one["id"] for one in first["campaigns"]] == ids[:0:-1]
    assert [one["id"] for one in rest["campaigns"]] == ids[:1]


def test_recipients_of_one_state_can_be_paged_through(operator, sending):
    number = sending(sent=51, rejected=1)

    first = operator.json(f"/campaign?id={number}&state=sent")
    rest = operator.json(f"/campaign?id={number}&state=sent&after={first['next']}")

    assert len(first["recipients"]) == 50
    assert len(rest["recipients"]) == 1
    assert rest["next"] is None
    assert f"after={first['next']}" in operator.get(f"/campaign?id={number}&state=sent").text


def test_an_invalid_request_is_reported(reader, post):
    number = post.draft()

    assert reader.get(f"/campaign?id={number}&state=happy").status_code == 400
    assert reader.get(f"/campaign?id={number}&after=x").status_code == 400
    assert reader.get("/campaign?id=999").status_code == 404
    assert reader.get("/campaign").status_code == 404


def test_a_campaign_is_paused_and_resumed(operator, sending, entries):
    number = sending(waiting=2)

    paused = operator.submit("/campaigns/pause", {"id": number})
    assert state_of(operator, number) == "paused"
    resumed = operator.submit("/campaigns/resume", {"id": number})

    assert paused == f"Campaign {number} is paused."
    assert resumed == f"Campaign {number} goes on."
    assert state_of(operator, number) == "sending"
    about = {"campaign_id": number}
    assert entries() == [("campaigns.resume", 1, about), ("campaigns.pause", 1, about)]


def test_a_draft_cannot_be_paused(operator, post, entries):
    answer = operator.post("/campaigns/pause", {"id": post.draft()})

    assert answer.status_code == 409
    assert "is draft: it cannot be paused" in answer.text
    assert entries() == []


def test_held_mails_are_sent_again_after_confirmation(operator, sending, entries):
    number = sending(sent=1, unknown=2)
    fields = [("id", number), ("state", "unknown")]

    asked = operator.post("/campaigns/again", fields)
    assert asked.status_code == 200
    assert "once more to 2 people" in asked.text
    assert "may get it twice" in asked.text
    assert (entries(), operator.json("/campaigns")["campaigns"][0]["recipients"]["unknown"]) == (
        [],
        2,
    )
    said = operator.submit("/campaigns/again", [*fields, ("sure", "yes")])

    assert said == f"Campaign {number} is sent once more to 2 people."
    counted = operator.json(f"/campaign?id={number}")["campaign"]["recipients"]
    assert (counted["sent"], counted["unknown"], counted["waiting"]) == (1, 0, 2)
    about = {"campaign_id": number, "again": ["unknown"]}
    assert entries() == [("campaigns.again", 2, about)]


def test_a_campaign_without_recipients_in_a_state_is_not_sent_again(operator, sending, entries):
    number = sending(sent=1)

    none = operator.post("/campaigns/again", {"id": number, "state": "unknown", "sure": "yes"})
    wrong = operator.post("/campaigns/again", {"id": number, "state": "sent", "sure": "yes"})

    assert (none.status_code, wrong.status_code) == (409, 400)
    assert entries() == []


def test_a_campaign_is_cancelled_after_confirmation(operator, sending, entries):
    number = sending(sent=1, waiting=2)

    asked = operator.post("/campaigns/cancel", {"id": number})
    assert "which 2 people have yet to get" in asked.text
    assert state_of(operator, number) == "sending"
    said = operator.submit("/campaigns/cancel", {"id": number, "sure": "yes"})

    assert said == f"Campaign {number} is cancelled."
    assert state_of(operator, number) == "cancelled"
    assert entries() == [("campaigns.cancel", 1, {"campaign_id": number})]
    assert operator.post("/campaigns/cancel", {"id": number}).status_code == 409


@pytest.mark.parametrize("number", ["", "x", "-1", "9" * 30, "7", "1\n"])
def test_an_unknown_campaign_changes_nothing(operator, entries, number):
    assert operator.post("/campaigns/pause", {"id": number}).status_code == 404
    assert entries() == []


def test_a_reader_has_no_buttons(reader, operator, sending):
    number = sending(unknown=1)

    for path in ("/campaigns", f"/campaign?id={number}"):
        assert "/campaigns/pause" in operator.get(path).text
        assert 'class="act"' not in reader.get(path).text


def test_a_campaign_that_was_refused_says_why(reader, post):
    number = post.draft()
    with db.transaction() as conn:
        campaigns.refuse(conn, number, f"the text is {SCRIPT}")

    text = reader.get(f"/campaign?id={number}").text

    assert "the text is &lt;script&gt;" in text
    assert SCRIPT not in text
