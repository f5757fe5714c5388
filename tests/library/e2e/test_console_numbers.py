"""The numbers of the console in a browser: what they count, and where they lead."""

import re

import pytest
from playwright.sync_api import expect

from tests.library.e2e import console_world as shop
from tests.library.e2e.test_console_page import (
    bury,
    conn,
    console,
    logins,
    open_page,
)

__all__ = ["conn", "console", "logins", "open_page"]

NUMBER = re.compile(r"[\d\u202f]+")


@pytest.fixture
def recorded(conn):
    """Runs of each outcome: five failed, three succeeded, four did neither; one is older."""
    conn.execute(
        """
        INSERT INTO workshed.runs (recorded_at, message_id, generation, attempt, queue, actor,
                                   outcome, reason, sent_at, ended_at, worker, origin, release,
                                   duration_s, queue_wait_s)
        SELECT now(), number || outcome, 0, 1, 'critical', 'charge_card', outcome, '', now(),
               now(), 'web-1:77', 'send', '', 0.02, 0.5
          FROM unnest('{retry,dead,poison,snoozed,discarded,expired,duplicate}'::text[])
                 WITH ORDINALITY AS ended (outcome, number)
         UNION ALL
        SELECT now(), 'more ' || n, 0, 1, 'default', 'index_product', outcome, '', now(), now(),
               'web-1:77', 'send', '', 0.02, 0.5
          FROM unnest('{retry,dead,succeeded,succeeded,succeeded}'::text[])
                 WITH ORDINALITY AS ended (outcome, n)
        """
    )


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "no javascript"])
@pytest.mark.parametrize(
    ("outcome", "count", "outcomes"),
    [("failed", 5, {"retry", "dead", "poison"}), ("succeeded", 3, {"succeeded"})],
)
def test_a_number_leads_to_what_it_counts(
    open_page, recorded, javascript, outcome, count, outcomes
):
    page = open_page("/", javascript=javascript)
    link = page.get_by_role("link", name=f"{count} {outcome}").first

    link.click()

    expect(page.locator("h1")).to_have_text("Jobs")
    expect(page.get_by_role("link", name=re.compile(f"^{outcome}", re.IGNORECASE))).to_have_text(
        re.compile(rf"{outcome} {count}$", re.IGNORECASE)
    )
    badges = page.locator("tbody .badge").all_inner_texts()
    assert (len(badges), set(badges)) == (count, outcomes)
    assert page.input_value("select[name=outcome]") == outcome
    for field in ("since", "until"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\dZ", page.input_value(f"input[name={field}]"))


def test_a_number_of_a_live_page_leads_to_the_runs_that_came_since(open_page, recorded, conn):
    page = open_page("/")
    expect(page.get_by_role("link", name="5 failed").first).to_be_visible()

    conn.execute("INSERT INTO workshed.runs SELECT (r).* FROM workshed.runs AS r")
    page.get_by_role("link", name="10 failed").first.click()

    expect(page.locator("tbody tr")).to_have_count(10)


def test_the_time_span_is_chosen_and_stays_while_the_page_is_live(open_page, recorded, conn):
    page = open_page("/")
    expect(page.locator(".tile dt").first).to_have_text("Jobs per minute, last 15 min")

    page.get_by_role("link", name="Last 24 h").click()

    expect(page.locator(".tile dt").first).to_have_text("Jobs per minute, last 24 h")
    expect(page.locator("[aria-current=page]", has_text="Last 24 h")).to_be_visible()
    expect(page.locator("svg.chart g")).to_have_count(96)
    expect(page.locator("#link")).to_have_text("live")
    conn.execute("INSERT INTO workshed.runs SELECT (r).* FROM workshed.runs AS r")
    expect(page.get_by_role("link", name="10 failed").first).to_be_visible()
    expect(page.locator(".tile dt").first).to_have_text("Jobs per minute, last 24 h")


def test_jobs_that_a_worker_runs_are_counted_and_moved_by_its_relay(
    open_page, start_worker, count, eventually, connect
):
    start_worker("tests.library.e2e.console_world")
    conn = connect(autocommit=True)
    conn.execute("CREATE TABLE public.bank_answers (at timestamptz)")
    conn.execute("CREATE TABLE public.charges (order_id bigint)")
    for number in range(3):
        shop.index_product.send(number)
        shop.charge_card.send(number, "4242")
    eventually(lambda: count("workshed.runs") == 6)
    page = open_page("/")
    for number in ("3 succeeded", "3 failed"):
        expect(page.get_by_role("link", name=number).first).to_be_visible()

    eventually(lambda: count("workshed.run_counts") == 0)

    page.reload()
    for number in ("3 succeeded", "3 failed"):
        expect(page.get_by_role("link", name=number).first).to_be_visible()
    assert conn.execute("SELECT sum(count) FROM workshed.run_minutes").fetchone() == (6,)


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "no javascript"])
def test_the_answer_to_an_action_is_for_one_look(open_page, conn, javascript):
    """Neither a reload nor another person who gets the address sees it."""
    bury(conn, "first", "FirstError")
    page = open_page("/dead", javascript=javascript)
    answers = []
    page.on("response", lambda found: answers.append(found.url))
    page.get_by_role("button", name="Retry first", exact=True).click()
    expect(page.locator(".said")).to_have_text("first: retried.")
    [address] = [url for url in answers if "done=" in url]

    page.goto(address)
    expect(page.locator("h1")).to_have_text("Dead")
    expect(page.locator(".said")).to_have_count(0)

    other = open_page(address.partition(page.url.split("/dead")[0])[2])
    expect(other.locator("h1")).to_have_text("Dead")
    expect(other.locator(".said")).to_have_count(0)


def test_an_idle_queue_has_no_oldest_job(open_page, broker):
    broker.ensure_queues(set(broker.declared_queues))
    page = open_page("/queues")

    row = page.locator("tr", has_text="default")

    expect(row.locator("[data-label='Oldest job']")).to_have_text("none")
    expect(row.locator("[data-label='Ready']")).to_have_text("0")
    expect(page.locator("dl.facts")).to_contain_text("“none” if no job waits")
