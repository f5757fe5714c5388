"""Which connections the console's server closes when there are too many."""

import pytest

from workshed.console.web.server.connections import ConnectionTable


class Connection:
    """A connection of a client, in a table."""

    def __init__(self, table, client):
        self.is_open = True
        self.is_accepted = table.add(self, client)
        table.set_waiting(self, is_waiting=self.is_accepted)

    def drop(self):
        self.is_open = False


@pytest.fixture
def table():
    """Room for five connections, and for three of one client."""
    return ConnectionTable(5, 3)


def still_open(connections):
    return [index for index, one in enumerate(connections) if one.is_open]


def test_the_connection_that_has_waited_longest_makes_room_for_another(table):
    opened = [Connection(table, f"client {number}") for number in range(7)]

    assert still_open(opened) == [2, 3, 4, 5, 6]
    assert len(table) == 5


def test_a_client_with_too_many_loses_its_own_and_no_other(table):
    other = Connection(table, "other")
    opened = [Connection(table, "client") for _ in range(7)]

    assert other.is_open
    assert still_open(opened) == [4, 5, 6]


def test_the_time_that_a_request_was_answered_is_no_wait(table):
    opened = [Connection(table, f"client {number}") for number in range(5)]
    table.set_waiting(opened[0], is_waiting=False)
    table.set_waiting(opened[0], is_waiting=True)

    Connection(table, "one more")

    assert still_open(opened) == [0, 2, 3, 4]


def test_connections_that_are_being_answered_stay(table):
    opened = [Connection(table, f"client {number}") for number in range(5)]
    for one in opened:
        table.set_waiting(one, is_waiting=False)

    refused = Connection(table, "one more")

    assert not refused.is_accepted
    assert still_open(opened) == [0, 1, 2, 3, 4]


def test_a_client_whose_connections_are_all_being_answered_gets_no_other(table):
    opened = [Connection(table, "client") for _ in range(3)]
    for one in opened:
        table.set_waiting(one, is_waiting=False)

    assert not Connection(table, "client").is_accepted
    assert Connection(table, "other").is_accepted


def test_a_proxy_has_no_limit_of_its_own(table):
    opened = [Connection(table, None) for _ in range(5)]

    assert still_open(opened) == [0, 1, 2, 3, 4]


def test_a_connection_that_has_ended_leaves_its_room(table):
    opened = [Connection(table, "client") for _ in range(3)]
    for _ in range(2):  # a connection that was dropped is removed again when it ends
        table.remove(opened[0])

    Connection(table, "client")

    assert still_open(opened) == [0, 1, 2]
    assert len(table) == 3
