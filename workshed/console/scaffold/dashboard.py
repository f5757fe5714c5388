"""The dashboard of a service that runs on PostgreSQL alone."""

import json
import re
from typing import Any

RABBITMQ = re.compile("rabbitmq", re.IGNORECASE)
READY = "Ready on RabbitMQ"
REQUEUED = "Requeued, and dropped"
BROKER_ROW = "Broker"
PUBLISHING = "Time to confirm"
COLUMNS = 24


def remove_rabbitmq(text: str) -> str:
    """Return a dashboard without the panels and links that only RabbitMQ fills."""
    board = json.loads(text)
    board["links"] = [link for link in board["links"] if not RABBITMQ.search(json.dumps(link))]
    for panel in board["panels"]:
        if panel["title"] == READY:
            panel["title"] = "Ready"
        elif panel["title"] == REQUEUED:
            panel["description"] = "Deliveries that were requeued, and runs missing from history."
    board["panels"] = _place([panel for panel in board["panels"] if not _is_for_rabbitmq(panel)])
    return json.dumps(board, indent=2, ensure_ascii=False) + "\n"


def _is_for_rabbitmq(panel: dict[str, Any]) -> bool:
    return panel["title"] in (BROKER_ROW, PUBLISHING) or bool(RABBITMQ.search(json.dumps(panel)))


def _place(panels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Close the gaps: panels of one height follow one another, from the left to the right."""
    x = y = height = 0
    for panel in panels:
        place = panel["gridPos"]
        if x + place["w"] > COLUMNS or panel["type"] == "row":
            x, y = 0, y + height
        place["x"], place["y"] = x, y
        x, height = x + place["w"], place["h"]
    return panels
