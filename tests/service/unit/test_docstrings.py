"""The service's docstrings follow the same rules as the library's public ones."""

import actors
from tests.library.unit import test_docstrings as library

PACKAGES = ("actors",)


def test_each_public_name_says_what_it_is_for():
    assert library.silent(PACKAGES) == []


def test_each_actor_documents_a_second_delivery_and_a_crash():
    sent = {name: getattr(getattr(actors, name), "fn", None) for name in actors.__all__}
    silent = [
        name
        for name, function in sent.items()
        if function
        and not all(label in function.__doc__ for label in ("Idempotent: ", "On crash: "))
    ]

    assert silent == []


def test_each_function_names_the_errors_of_ours_that_it_raises():
    assert library.unsaid(PACKAGES) == set()


def test_each_error_that_is_named_exists():
    assert library.gone(PACKAGES) == set()
