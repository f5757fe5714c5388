"""Patch files as a process reads them; Python imports this module if it is on its path.

The campaign puts it there for a test and the programs it starts; no shipped code refers to it.
"""

import importlib.abc
import json
import os
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path

PATCHES: dict[str, list[tuple[str, str]]] = {}
"""Replacements (old, new) by the path of the file in the project."""
for _file, _old, _new in json.loads(os.environ.get("FAULTS_PATCHES", "[]")):
    PATCHES.setdefault(_file, []).append((_old, _new))
MODULES = {file.removesuffix(".py").replace("/", "."): file for file in PATCHES}


def patched(file: str, text: str) -> str:
    """Return the patched text of a file, and record that this process uses it."""
    for old, new in PATCHES[file]:
        if text.count(old) != 1:
            raise AssertionError(f"{file} has {text.count(old)} times {old!r}")
        text = text.replace(old, new)
    with Path(os.environ["FAULTS_PATCHED"]).open("a") as notes:
        notes.write(f"{os.getpid()} {file}\n")
    return text


class Loader(SourceFileLoader):
    """Runs a patched module, and does not cache its bytecode."""

    def get_code(self, fullname: str) -> object:  # type: ignore[override]
        """Compile the patched source."""
        text = patched(MODULES[fullname], Path(self.path).read_bytes().decode())
        return compile(text, self.path, "exec")


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules to patch, by means of the other finders."""

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:  # type: ignore[override]
        """Return a patched module's spec; leave all other modules alone."""
        if name not in MODULES:
            return None
        others = (one for one in sys.meta_path if one is not self)
        specs = (one.find_spec(name, path, target) for one in others)  # type: ignore[arg-type]
        spec = next(filter(None, specs))
        spec.loader = Loader(name, str(spec.origin))
        return spec


def read_text(path: Path, *words: object, **options: object) -> str:
    """Read a file that is not a module, for example the SQL of a migration."""
    text = as_it_is(path, *words, **options)  # type: ignore[arg-type]
    file = next((file for file in PATCHES if path.as_posix().endswith(f"/{file}")), None)
    return patched(file, text) if file else text


if PATCHES:
    sys.meta_path.insert(0, Finder())
    if set(PATCHES) - {file for file in MODULES.values() if file.endswith(".py")}:
        as_it_is, Path.read_text = Path.read_text, read_text  # type: ignore[assignment,method-assign]
