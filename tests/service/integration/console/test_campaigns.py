"""`python -m shop campaigns`: bulk email, from the draft to each recipient's outcome."""

import pytest

import actors
from shop import campaigns
from workshed import db

pytestmark = pytest.mark.usefixtures("database", "broker")

TEXT = "Hello {{ name }}\n\n{{ unsubscribe_url }}\n"


@pytest.fixture
def text(env, tmp_path):
    """A file with a valid template."""
    env(SECRET_KEY="k" * 40)
    path = tmp_path / "news.txt"
    path.write_text(TEXT)
    return str(path)


@pytest.fixture
def added(workshed, text):
    """The id of a draft, as printed by the command."""
    done = workshed("campaigns", "add", "News", "--subject", "For {{ name }}", "--text", text)
    assert done.code == 0, done.err
    return done.out.strip()


@pytest.fixture
def people(conn):
    """The ids of two users in its audience."""
    query = """
        INSERT INTO shop.users (name, email)
        VALUES ('Ada', 'ada@example.org'), ('Bob', 'bob@example.org') RETURNING id
    """
    return [user_id for (user_id,) in conn.execute(query)]


def begun(number, people):
    """Start the campaign, and give one recipient an outcome."""
    actors.campaigns.begin_campaign(int(number))
    with db.transaction() as conn:
        campaigns.next_recipients(conn, int(number), 0, 10)
        conn.execute(
            "UPDATE shop.campaign_recipients SET state = 'rejected', reason = 'no such user'"
            " WHERE user_id = %s",
            (people[1],),
        )


def test_a_draft_is_listed(workshed, added):
    done = workshed("campaigns")

    assert done.lines[0].split() == ["id", "campaign", "state", "recipients", "made"]
    assert done.lines[1].split()[:6] == [added, "News", "draft", "0", "of", "0"]
    [found] = workshed("campaigns", "list", "--json").json
    assert (found["name"], found["state"], found["recipients"]["total"]) == ("News", "draft", 0)


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        (
            "{{ nam }}",
            "python -m shop: the subject cannot be sent: UndefinedError: 'nam' is undefined\n",
        ),
        (
            "{{",
            "python -m shop: the subject cannot be sent: line 1: unexpected 'end of template'\n",
        ),
    ],
)
def test_a_draft_that_cannot_be_sent_is_refused_with_its_reason(workshed, text, subject, said):
    done = workshed("campaigns", "add", "News", "--subject", subject, "--text", text)

    assert (done.code, done.out, done.err) == (1, "", said)
    assert workshed("campaigns", "list", "--json").json == []


def test_a_file_that_is_not_utf_8_is_refused(workshed, text, tmp_path):
    (tmp_path / "latin.txt").write_bytes("Zoë {{ unsubscribe_url }}".encode("latin-1"))

    done = workshed(
        "campaigns", "add", "N", "--subject", "S", "--text", str(tmp_path / "latin.txt")
    )

    assert done.code == 2
    assert "is not UTF-8" in " ".join(done.err.replace("│", " ").split())
    refused = workshed("campaigns", "add", "", "--subject", "S", "--text", text)
    assert (refused.code, refused.err) == (
        1,
        "python -m shop: the name '' cannot be used: it has 0 characters, and not 1 to 200\n",
    )


def test_an_invalid_audience_is_refused(workshed, text):
    done = workshed("campaigns", "add", "N", "--subject", "S", "--text", text, "--audience", "all")

    assert done.code == 2
    assert "everyone, active, inactive" in done.err


def test_the_mail_of_a_sample_recipient_is_shown(workshed, added):
    done = workshed("campaigns", "preview", added)

    assert "For Zoë <Sample> O'Neill & Sons" in done.out
    assert "Hello Zoë <Sample>" in done.out
    assert "/unsubscribe/" in done.out


def test_it_is_not_started_without_a_yes(workshed, added, people):
    done = workshed("campaigns", "start", added)
    assert done.code == 2
    assert "Send 'News' to 2 people" in done.err
    assert workshed("campaigns", "start", added, "--dry-run").out == (
        f"{added}  would be sent to 2 people\n"
    )
    with db.transaction() as conn:
        assert campaigns.get_campaign(conn, int(added)).state == "draft"
        assert conn.execute("SELECT count(*) FROM workshed.schedule").fetchone() == (0,)


def test_its_first_job_is_sent_with_a_yes(workshed, added, people):
    done = workshed("campaigns", "start", added, "--yes")

    assert done.out == f"{added}  starting\n"
    assert "SHOP_SITE_URL is not https" in done.err
    again = workshed("campaigns", "start", added, "--yes")
    assert again.err == f"python -m shop: campaign {added} is starting: it cannot be started\n"
    with db.transaction() as conn:
        sent = conn.execute("SELECT actor FROM workshed.schedule").fetchall()
    assert sent == [("send_bulk_email",)]


def test_the_outcomes_of_its_recipients_are_shown(workshed, added, people):
    begun(added, people)

    done = workshed("campaigns", "show", added)
    said = dict(line.strip().split(None, 1) for line in done.lines if " " in line)
    assert (said["state"], said["recipients"]) == ("sending", "1 of 2")
    assert (said["handed"], said["rejected"]) == ("1", "1")
    [one] = workshed("campaigns", "recipients", added, "--json").json
    assert one == {
        "user_id": people[1],
        "state": "rejected",
        "reason": "no such user",
        "email": "bob@example.org",
    }
    assert "ada@example.org" in workshed("campaigns", "recipients", added, "--state=handed").out
    assert workshed("campaigns", "recipients", added, "--state=nowhere").code == 2


def test_it_is_paused_resumed_and_cancelled(workshed, added, people):
    begun(added, people)

    assert workshed("campaigns", "pause", added).out == f"{added}  paused\n"
    again = workshed("campaigns", "pause", added)
    assert (again.code, again.err) == (
        1,
        f"python -m shop: campaign {added} is paused: it cannot be paused\n",
    )
    assert workshed("campaigns", "resume", added).out == f"{added}  sending\n"
    assert workshed("campaigns", "cancel", added, "--dry-run").out == (
        f"{added}  would be cancelled, which 1 people have yet to get\n"
    )
    assert workshed("campaigns", "cancel", added, "--yes").out == f"{added}  cancelled\n"
    late = workshed("campaigns", "resume", added)
    assert (late.code, late.err) == (
        1,
        f"python -m shop: campaign {added} is cancelled: it cannot be resumed\n",
    )


def test_it_is_sent_again_to_those_who_did_not_get_it(workshed, added, people):
    begun(added, people)

    asked = workshed("campaigns", "resume", added, "--again", "rejected")
    assert asked.code == 2
    assert "Send 'News' to 1 people once more" in asked.err
    tried = workshed("campaigns", "resume", added, "--again=rejected", "--dry-run")
    assert tried.out == f"{added}  would continue, to 1 people again\n"
    assert workshed("campaigns", "recipients", added, "--json").json[0]["state"] == "rejected"
    assert workshed("campaigns", "resume", added, "--again=rejected", "--yes").code == 0
    of = workshed("campaigns", "show", added, "--json").json["recipients"]
    assert (of["rejected"], of["waiting"]) == (0, 1)
    assert workshed("campaigns", "resume", added, "--again=sent").code == 2


@pytest.mark.parametrize("command", ["show", "preview", "start", "pause", "resume", "cancel"])
def test_an_unknown_campaign_is_reported(workshed, command):
    done = workshed("campaigns", command, "404")

    assert done.code == 5
    assert done.err == "python -m shop: there is no campaign 404; see `python -m shop campaigns`\n"


def test_a_draft_goes_to_named_users(workshed, text, people, tmp_path):
    (tmp_path / "ids").write_text(f"{people[1]}\n")
    words = ("campaigns", "add", "News", "--subject", "Hi", "--text", text)

    by_list = workshed(*words, "--to", str(tmp_path / "ids"))
    by_query = workshed(*words, "--query", "SELECT id FROM shop.users WHERE name LIKE 'A%'")

    assert (by_list.code, by_query.code) == (0, 0), by_list.err + by_query.err
    assert "It would be sent to 1 people." in by_list.err
    for done in (by_list, by_query):
        found = workshed("campaigns", "show", done.out.strip(), "--json").json
        assert (found["audience"], found["recipients"]["total"]) == ("chosen", 1)


def test_only_one_of_three_ways_to_name_an_audience_is_accepted(workshed, text, people, tmp_path):
    (tmp_path / "ids").write_text("1 two")
    words = ("campaigns", "add", "News", "--subject", "Hi", "--text", text)

    assert "pass one of" in workshed(*words, "--query", "SELECT 1", "--audience", "active").err
    assert "other than user ids" in workshed(*words, "--to", str(tmp_path / "ids")).err
    done = workshed(*words, "--query", "SELECT 0")
    assert done.code == 1
    assert "none of the named recipients is a user" in done.err


def test_it_begins_at_a_time(workshed, added, people, conn):
    done = workshed("campaigns", "start", added, "--at", "2100-01-31T09:00Z", "--yes")

    assert done.out == f"{added}  starting at 2100-01-31 09:00:00+00:00\n"
    assert "begins" in workshed("campaigns", "show", added).out
    query = "SELECT due_at::text FROM workshed.schedule WHERE actor = 'send_bulk_email'"
    assert conn.execute(query).fetchone()[0].startswith("2100-01-31")


def test_a_test_mail_is_sent(workshed, added, conn):
    done = workshed("campaigns", "send-test", added, "ada@example.org")

    assert done.out == f"{added}  is sent to ada@example.org as a test\n"
    query = "SELECT kind, recipient, subject FROM workshed_mail.emails"
    assert conn.execute(query).fetchall() == [
        ("campaign_test", "ada@example.org", "[Test] For Zoë <Sample> O'Neill & Sons")
    ]
    assert workshed("campaigns", "send-test", added, "nowhere").code == 1


def test_its_end_reports_its_result(workshed, added, people):
    begun(added, people)
    with db.transaction() as conn:
        conn.execute(
            "UPDATE shop.campaign_recipients SET state = 'sent' WHERE user_id = %s", (people[0],)
        )
        conn.execute(
            "UPDATE shop.campaigns SET state = 'sent', ended_at = workshed.now(), batch = NULL"
        )

    assert "1 sent, 1 rejected" in workshed("campaigns").out
