"""The answer to an action is shown once, to the browser that sent it."""

import re

import pytest

from workshed.jobs.control import queues


@pytest.fixture
def pressed(broker, conn, operator):
    """`pressed("low")`: pause a queue; returns the address of the page that follows."""
    queues.declare_queues(
        conn, {queue.name: queue.kind for queue in broker.declared_queues.values()}
    )

    def press(name):
        answer = operator.post("/queues/pause", {"name": name})
        assert answer.status_code == 303
        return answer.headers["location"]

    return press


def messages(browser, path):
    return re.findall(r'class="said"[^>]*>(.*?)</p>', browser.get(path).text)


def test_it_is_shown_once(operator, pressed):
    address = pressed("low")

    [said] = messages(operator, address)
    assert "paused" in said

    assert messages(operator, address) == []


def test_it_is_not_shown_to_others_who_get_the_address(operator, reader, pressed):
    address = pressed("low")

    assert messages(reader, address) == []

    assert len(messages(operator, address)) == 1


def test_each_of_two_answers_is_shown(operator, pressed):
    first, second = pressed("low"), pressed("bulk")

    assert len(messages(operator, first)) == len(messages(operator, second)) == 1


def test_a_page_in_another_tab_takes_no_message(operator, pressed):
    address = pressed("low")

    assert messages(operator, "/queues") == []

    assert len(messages(operator, address)) == 1


def test_an_address_without_a_message_is_a_page(operator, broker):
    operator.client.cookies.set("workshed_console_done_x", "1")  # as no server has set it
    for value in ("", "x", "-1", "9" * 40, "7%0d%0aSet-Cookie:a=b"):
        answer = operator.get(f"/queues?done={value}")
        assert (answer.status_code, 'class="said"' in answer.text) == (200, False)
