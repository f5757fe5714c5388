"""Secret arguments are hidden by name, and wherever their value appears in a text."""

import json

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

from workshed.middleware import Redaction
from workshed.middleware.observability.redaction import redact_arguments, scrub_text


def sign_in(user_id, password, *, hint="none", **more):
    """An actor's function."""


def declared(redact, fn=sign_in):
    actor = dramatiq.Actor(
        fn,
        broker=StubBroker(middleware=[]),
        actor_name="sign_in",
        queue_name="default",
        priority=0,
        options={"redact": redact},
    )
    Redaction().before_declare_actor(actor.broker, actor)
    return actor


def message(*args, **kwargs):
    return dramatiq.Message("default", "sign_in", args, kwargs, {})


def test_a_secret_is_hidden_however_it_is_passed():
    actor = declared(["password", "token"])

    by_place = redact_arguments(actor, message(7, "hunter2"))
    by_name = redact_arguments(actor, message(7, password="hunter2", token="abc", colour="red"))

    assert by_place == {"user_id": 7, "password": "[redacted]"}
    assert by_name == {
        "user_id": 7,
        "password": "[redacted]",
        "token": "[redacted]",
        "colour": "red",
    }


def test_positional_arguments_that_do_not_fit_are_all_hidden():
    """In a message of another release, it is unknown which of them is the secret."""
    assert redact_arguments(declared(["password"]), message("hunter2", 1, 2)) == {
        "0": "[redacted]",
        "1": "[redacted]",
        "2": "[redacted]",
    }


def test_its_value_is_hidden_in_texts_also_inside_of_lists_and_objects():
    actor = declared(["password"])
    secret = message(7, {"old": ["hunter2"], "new": 123456})

    text = scrub_text(actor, secret, "user 7: 'hunter2' is not 123456")

    assert text == "user 7: '[redacted]' is not [redacted]"


def test_a_value_too_short_to_be_a_secret_does_not_blacken_the_text():
    assert scrub_text(declared(["password"]), message(7, "a"), "a banana") == "a banana"


def test_an_actor_without_secrets_shows_all():
    actor = declared([])

    assert redact_arguments(actor, message(7, "x")) == {"user_id": 7, "password": "x"}
    assert scrub_text(actor, message(7, "hunter2"), "hunter2") == "hunter2"


@pytest.mark.parametrize("redact", ["password", [7], None])
def test_redact_has_to_be_a_list_of_names(redact):
    with pytest.raises(ValueError, match="sign_in: redact="):
        declared(redact)


def test_a_name_that_is_no_parameter_is_refused():
    """It would silently hide nothing."""

    def only(user_id):
        pass

    with pytest.raises(ValueError, match="'password', which is none of its parameters: user_id"):
        declared(["password"], only)


def test_its_value_is_hidden_as_it_is_written_in_json_too():
    """JSON escapes the line breaks of a multi-line key, and so do log lines."""
    actor = declared(["password"])
    key = "-----BEGIN\n\u00e9t\u00e9"

    text = scrub_text(actor, message(7, key), json.dumps({"said": key}))

    assert text == '{"said": "[redacted]"}'
