"""The people of the demo."""

import csv
from dataclasses import dataclass
from importlib import resources
from typing import Literal

Role = Literal["", "leaves", "busy"]


@dataclass(frozen=True, slots=True)
class Person:
    """A person who signs up.

    One `leaves` before the welcome is sent; the mail server of another is `busy` the first time.
    """

    name: str
    email: str
    role: Role


def read_people() -> list[Person]:
    """Read `people.csv`, which is next to this file."""
    text = resources.files("shop.demo").joinpath("people.csv").read_text("utf-8")
    return [
        Person(row["name"], row["email"], _parse_role(row["role"]))
        for row in csv.DictReader(text.splitlines())
    ]


def _parse_role(text: str) -> Role:
    match text:
        case "" | "leaves" | "busy":
            return text
    raise ValueError(f"people.csv: no role {text!r}")
