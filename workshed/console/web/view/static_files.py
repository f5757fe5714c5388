"""Styles and scripts, under addresses that change with their contents."""

import hashlib
import re
from functools import cache
from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parents[1] / "static"
IMMUTABLE = "public, max-age=31536000, immutable"
UNKNOWN_VERSION = "no-store"
"""For a browser whose page is of another release, during a deploy."""
CHECKED = "no-cache"
VERSION = re.compile(r"[0-9a-f]{12}")


class VersionedFiles(StaticFiles):
    """Serves `/<version>/console.js`, which browsers keep, and `/console.js`, which they check.

    The version is that of all files, so relative imports of a script lead to files of its version.
    """

    def __init__(self, *folders: Path) -> None:
        """Serve the files of these folders; the first that has a name counts."""
        super().__init__(directory=folders[0])
        self.all_directories = [*folders]
        self.version = files_version(*folders)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file, or raise the 404 of Starlette."""
        version, _, name = path.partition("/")
        if not VERSION.fullmatch(version):
            policy, name = CHECKED, path
        elif version == self.version:
            policy = IMMUTABLE
        else:
            policy = UNKNOWN_VERSION
        response = await super().get_response(name, scope)
        response.headers["Cache-Control"] = policy
        return response


@cache
def files_version(*folders: Path) -> str:
    """Return a hash of the files of these folders."""
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted(one for one in folder.rglob("*") if one.is_file()):
            content = file.read_bytes()
            digest.update(f"{file.relative_to(folder)} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]


def static_path() -> str:
    """Return the path of the console's own files, below the path where it is mounted."""
    return f"/static/{files_version(FOLDER)}"
