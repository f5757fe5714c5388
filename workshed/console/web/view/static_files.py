"""Styles and scripts, under addresses that change with their contents."""

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from mimetypes import guess_type
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

from workshed.value_class import value_class

FOLDER = Path(__file__).parents[1] / "static"
IMMUTABLE = "public, max-age=31536000, immutable"
UNKNOWN_VERSION = "no-store"
"""For a browser whose page is of another release, during a deploy."""
CHECKED = "no-cache"
VERSION = re.compile(r"[0-9a-f]{12}")


@value_class
class FilesOfRelease:
    """Files as they were when this process started."""

    version: str
    """A hash of all names and contents."""
    contents: Mapping[str, bytes]


class VersionedFiles(StaticFiles):
    """Serves `/<version>/console.js`, which browsers keep, and `/console.js`, which they check.

    The version is that of all files, so relative imports of a script lead to files of its version.
    They are read once: after an upgrade, and before the restart, a file of the next release would
    otherwise be kept under an address of this one.
    """

    def __init__(self, *folders: Path) -> None:
        """Serve the files of these folders; the first that has a name counts."""
        super().__init__()
        self._files = read_files(*folders)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file, or raise the errors of Starlette."""
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        version, _, name = path.partition("/")
        if not VERSION.fullmatch(version):
            policy, name = CHECKED, path
        elif version == self._files.version:
            policy = IMMUTABLE
        else:
            policy = UNKNOWN_VERSION
        content = self._files.contents.get(name)
        if content is None:
            raise HTTPException(404)
        headers = {"Cache-Control": policy, "ETag": f'"{hash_of(content)}"'}
        response = Response(content, headers=headers, media_type=guess_type(name)[0])
        if self.is_not_modified(response.headers, Headers(scope=scope)):
            return NotModifiedResponse(response.headers)
        return response


@cache
def read_files(*folders: Path) -> FilesOfRelease:
    """Read the files of these folders, once in this process."""
    digest = hashlib.sha256()
    contents: dict[str, bytes] = {}
    for folder in folders:
        for file in sorted(one for one in folder.rglob("*") if one.is_file()):
            name, content = file.relative_to(folder).as_posix(), file.read_bytes()
            digest.update(f"{name} {len(content)}\n".encode() + content)
            contents.setdefault(name, content)
    return FilesOfRelease(digest.hexdigest()[:12], contents)


@cache
def hash_of(content: bytes) -> str:
    """Return a hash of a file, by which a browser asks whether it has changed."""
    return hashlib.sha256(content).hexdigest()


def static_version() -> str:
    """Return the version of the console's own files."""
    return read_files(FOLDER).version


def static_path() -> str:
    """Return the path of the console's own files, below the path where it is mounted."""
    return f"/static/{static_version()}"
