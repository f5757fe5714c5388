"""A fixed piece of Python work, of the kinds that a job consists of."""

import json
from collections import deque

ROUNDS = 2_000


class LoopItem:
    """What the loop makes and passes on."""

    def __init__(self, number: int, options: dict[str, int]) -> None:
        self.number = number
        self.options = options

    @property
    def name(self) -> str:
        """Its name."""
        return f"item {self.number}"


def run_fixed_loop() -> int:
    """Call functions, make objects, encode and decode, as often as `ROUNDS` says."""
    waiting: deque[LoopItem] = deque()
    total = 0
    for number in range(ROUNDS):
        waiting.append(LoopItem(number, {"one": number, "two": 2}))
        total += _take(waiting)
    return total


def _take(waiting: deque[LoopItem]) -> int:
    item = waiting.popleft()
    try:
        text = json.dumps({"name": item.name, "args": [item.number], "options": item.options})
        return len(json.loads(text)["name"]) + item.options.get("three", 0)
    finally:
        item.options.clear()
