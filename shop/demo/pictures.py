"""Two uploads of one person, and the events about them that their browser receives."""

import http.client
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from PIL import Image

from actors import attach_image
from shop import images
from shop.demo.subprocesses import run_process
from workshed import db
from workshed.contrib.notifications import token
from workshed.contrib.storage import storage
from workshed.devserver.process import has_ended

HOST = "127.0.0.1"
SITE = "shop.demo.site:create_app"
START_S = 20
POLL_S = 0.1

WIDTH, HEIGHT = 2400, 1600
ORIENTATION, QUARTER_TURN = 0x0112, 6
"""The EXIF tag for how the camera was held, and its value for a quarter turn."""
GPS, LATITUDE_REF, LATITUDE = 0x8825, 1, 2
DRAWING = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@dataclass(slots=True)
class UploadDemo:
    """A file of the demo, and what was seen of it so far."""

    filename: str
    attachment_id: int
    expected_event: str
    """The event that the browser should receive."""
    event_data: dict[str, Any] | None = None
    seconds: float = 0.0

    @property
    def pending(self) -> list[str]:
        """Name the expected events that were not seen yet."""
        return [] if self.event_data else [f"{self.filename}: {self.expected_event} in the browser"]

    def summary_line(self) -> str:
        """Return a line that says what the file became."""
        if self.event_data is None:
            return "-"
        if self.expected_event == "image_refused":
            return f"refused: {self.event_data['reason']}"
        size = f"{self.event_data['width']}x{self.event_data['height']}"
        return f"became {self.event_data['media_type']} of {size}"


class EventFollower:
    """Follows the events of one user, as their page does, in a thread."""

    def __init__(self, port: int, user_id: int) -> None:
        self._port = port
        self._path = f"/pictures/events?after=0&token={quote(token(str(user_id)))}"
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._began = time.monotonic()
        self.events: list[tuple[str, dict[str, Any], float]] = []
        """Name, data, and arrival in seconds since this object was created."""

    def __enter__(self) -> Self:
        """Start following."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: the thread ends when the server closes the connection."""

    def _follow(self) -> None:
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(HOST, self._port)
            with closing(connection):
                connection.request("GET", self._path)
                event = ""
                for line in connection.getresponse():
                    name, _, value = line.decode().strip().partition(": ")
                    if name == "event":
                        event = value
                    elif name == "data":
                        came = time.monotonic() - self._began
                        self.events.append((event, json.loads(value), came))


@contextmanager
def serve_pages(port: int, log: Path) -> Generator[None]:
    """Serve the demo's pages until the block ends."""
    command = [sys.executable, "-m", "uvicorn", "--factory", SITE, "--no-access-log"]
    with run_process([*command, "--host", HOST, "--port", str(port)], log) as process:
        _wait_for_server(process, port)
        yield


def site_url(port: int) -> str:
    """Return the address of the pages."""
    return f"http://{HOST}:{port}"


def pictures_url(port: int, user_id: int) -> str:
    """Return the address of a user's pictures page."""
    return f"{site_url(port)}/pictures/?token={quote(token(str(user_id)))}"


def upload_files(user_id: int) -> list[UploadDemo]:
    """Upload a file that becomes a picture, and one that is refused."""
    return [
        UploadDemo(
            "beach.jpg", _upload_file(user_id, "beach.jpg", make_photo()), "image_processed"
        ),
        UploadDemo("logo.svg", _upload_file(user_id, "logo.svg", DRAWING), "image_refused"),
    ]


def record_events(browser: EventFollower, uploads: list[UploadDemo]) -> None:
    """Look once, and note which uploads have had their event."""
    for event, data, came in list(browser.events):
        for one in uploads:
            if (one.attachment_id, one.expected_event) == (data.get("attachment_id"), event):
                one.event_data, one.seconds = data, came


def make_photo() -> bytes:
    """Make a picture as from a camera held upright, with its location."""
    sky = Image.linear_gradient("L").resize((WIDTH, HEIGHT))
    sun = Image.radial_gradient("L").resize((WIDTH, HEIGHT))
    exif = Image.Exif()
    exif[ORIENTATION] = QUARTER_TURN
    exif.get_ifd(GPS).update({LATITUDE_REF: "N", LATITUDE: (48.0, 51.0, 30.0)})
    file = io.BytesIO()
    Image.merge("RGB", (sun, sky, sky.rotate(180))).save(file, "JPEG", quality=90, exif=exif)
    return file.getvalue()


def _upload_file(user_id: int, filename: str, content: bytes) -> int:
    with storage().draft() as draft:
        draft.write(content)
        blob = images.keep(draft)
    with db.transaction() as conn:
        return attach_image(conn, user_id, filename, blob)


def _wait_for_server(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Wait up to 20 s for the server; without it, the demo names what it did not see."""
    until = time.monotonic() + START_S
    while not has_ended(process) and time.monotonic() < until:
        connection = http.client.HTTPConnection(HOST, port, timeout=START_S)
        with closing(connection), suppress(ConnectionError):
            connection.request("GET", "/")
            connection.getresponse()
            return
        time.sleep(POLL_S)
