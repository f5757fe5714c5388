"""Move modules, and rewrite everything that names them: `python -m tools.moves PLAN`.

A plan is a TOML file. Its table `modules` maps old names to new ones. The name of a package moves
everything in it; the longest matching name wins. Its table `packages` has a docstring for each
package that the moves create:

    [modules]
    "workshed.transport.amqp.connection" = "workshed.transport.amqp.connection"
    "workshed.testing" = "workshed.testing"

    [packages]
    "workshed.transport.amqp" = "AMQP: connections, declarations, replies."

A folder without `__init__.py` is a package, too. It needs no docstring, and neither does a new
folder inside such a top-level folder.

Files move with git. Imports are rewritten. Dotted names of modules and paths of their files are
rewritten in all text files except SQL, because an applied migration must not change. If the last
part of a module's name changes, importers use the new one, too. A top-level package's name on its
own may be any word, so it is not changed in strings and prose: look for it yourself, and for names
that are put together at run time.

Before anything is written, the syntax tree of each file is compared with the current one: apart
from imports, only what the plan renames may differ. The command prints imports that keep an old
name with `as`, because that file already uses the new name.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

IMPORT = re.compile(
    r"^([ \t]*)from ([\w.]+) import (\w+(?: as \w+)?(?:, \w+(?: as \w+)?)*)$", re.MULTILINE
)
"""An import line within a text."""
Span = tuple[int, int]
"""A range of a file's bytes; the end is exclusive."""


class PlanError(Exception):
    """A plan cannot be applied."""


@dataclass(frozen=True)
class MovePlan:
    """Which modules move where."""

    renames: dict[str, str]
    """Every module and package that moves, by its old name."""
    packages: dict[str, str]
    """The docstrings of packages that are created."""

    @classmethod
    def read(cls, text: str, files: Iterable[str]) -> "MovePlan":
        """Read a plan for a tree with these files.

        Raises `PlanError` if it names a module that does not exist, or gives two modules one name.
        """
        content = tomllib.loads(text)
        rules = content["modules"]
        modules = {module_name(file) for file in files if file.endswith(".py")}
        bare = find_namespaces(modules)
        modules |= bare
        if unknown := sorted(set(rules) - modules):
            raise PlanError(f"no such modules: {', '.join(unknown)}")
        renames = {}
        for module in modules:
            parents = [rule for rule in rules if f"{module}.".startswith(f"{rule}.")]
            if parents:
                rule = max(parents, key=len)
                renames[module] = rules[rule] + module[len(rule) :]
        targets = [renames.get(module, module) for module in modules]
        if double := sorted({name for name in targets if targets.count(name) > 1}):
            raise PlanError(f"two modules would have one name: {', '.join(double)}")
        packages = content.get("packages", {})
        needed = find_namespaces(name for name in targets if split_name(name)[0] not in bare)
        if missing := sorted(needed - bare - set(packages)):
            raise PlanError(f"no docstring for the packages {', '.join(missing)}")
        return cls(renames, packages)

    def new_path(self, file: str) -> str:
        """Return where a file is afterwards; files that are not modules stay in their package."""
        if file.endswith(".py"):
            new = self.renames.get(module_name(file))
            ending = "/__init__.py" if file.endswith("/__init__.py") else ".py"
            return as_path(new) + ending if new else file
        for folder in Path(file).parents:
            if new := self.renames.get(str(folder).replace("/", ".")):
                return as_path(new) + file.removeprefix(str(folder))
        return file

    def rewrite(self, text: str) -> str:
        """Return a text with its dotted module names and module paths replaced by the new ones.

        Import lines are rewritten, too, because documents and strings contain code.
        """
        text = IMPORT.sub(self._rewrite_import, text)
        return self._pattern.sub(lambda found: self._replacements[found[0]], text)

    def _rewrite_import(self, found: re.Match[str]) -> str:
        """Return the new lines for `from package import module, name`, one for each new package."""
        indent, package, names = found[1], found[2], found[3].split(", ")
        moved = [name for name in names if f"{package}.{name.partition(' ')[0]}" in self.renames]
        if not moved:
            return found[0]
        rest = [name for name in names if name not in moved]
        lines = [f"from {package} import {', '.join(rest)}"] if rest else []
        for one in moved:
            name, _, known_as = one.partition(" as ")
            parent, _, last = self.renames[f"{package}.{name}"].rpartition(".")
            called = known_as or name
            lines.append(f"from {parent} import {last}" + (f" as {called}" * (called != last)))
        return "\n".join(f"{indent}{line}" for line in lines)

    @cached_property
    def _replacements(self) -> dict[str, str]:
        dotted = {old: new for old, new in self.renames.items() if "." in old}
        return dotted | {as_path(old): as_path(new) for old, new in dotted.items()}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        longest_first = sorted(self._replacements, key=len, reverse=True)
        names = "|".join(re.escape(name) for name in longest_first)
        return re.compile(rf"(?<![\w.])(?:{names})(?!\w)")


def split_name(module: str) -> list[str]:
    """Return the parts of a dotted name."""
    return module.split(".")


def find_namespaces(modules: Iterable[str]) -> set[str]:
    """Return the packages that have no `__init__.py`."""
    names = set(modules)
    parents = {
        ".".join(split_name(one)[:n]) for one in names for n in range(1, len(split_name(one)))
    }
    return parents - names


def as_path(module: str) -> str:
    """Return the path of a module, without a suffix."""
    return module.replace(".", "/")


def module_name(file: str) -> str:
    """Return the name of a module, or of a package by its `__init__.py`."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@dataclass
class SourceFile:
    """A Python file to which a plan is applied."""

    plan: MovePlan
    file: str
    text: str
    kept_names: list[str] = field(default_factory=list)
    """Imports that keep an old name with `as`."""

    def rewrite(self) -> str:
        """Return the new text; raises `PlanError` if more than names would change."""
        tree = ast.parse(self.text)
        self._names = self._new_names(tree)
        result = "".join(self._pieces(tree))
        expected = RenameTransformer(self.plan, self._names).visit(tree)
        found = ImportRemover().visit(ast.parse(result))
        if ast.dump(expected) != ast.dump(found):
            lines = zip(*(ast.unparse(one).splitlines() for one in (expected, found)), strict=False)
            first = next((f"\n{a}\n{b}" for a, b in lines if a != b), "")
            raise PlanError(f"{self.file}: more than names would change{first}")
        return result

    def _pieces(self, tree: ast.Module) -> Iterator[str]:
        """Yield the text in pieces: edits as they are, and the rewritten text between them."""
        text, done = self.text.encode(), 0
        for (begin, end), new in sorted(self._edits(tree)):
            yield self.plan.rewrite(text[done:begin].decode())
            yield new
            done = end
        yield self.plan.rewrite(text[done:].decode())

    def _edits(self, tree: ast.Module) -> Iterator[tuple[Span, str]]:
        """Yield the edits that need the syntax tree, because the text alone is ambiguous."""
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (
                self._moved_modules(node) or self._is_top(node.module)
            ):
                yield self._span(node), self._rewrite_import(node)
            elif isinstance(node, ast.Name) and node.id in self._names:
                yield self._span(node), self._names[node.id]

    def _moved_modules(self, node: ast.ImportFrom) -> dict[str, str]:
        """Return the moving modules of an import, with their new names."""
        if node.level or not node.module:
            return {}
        modules = {one.name: f"{node.module}.{one.name}" for one in node.names}
        renames = self.plan.renames
        return {name: renames[module] for name, module in modules.items() if module in renames}

    def _rewrite_import(self, node: ast.ImportFrom) -> str:
        """Return the new import, with one statement for each package that it comes from."""
        moved = self._moved_modules(node)
        package = self.plan.renames.get(node.module or "", node.module)
        sources: dict[str, list[str]] = {}
        for one in node.names:
            new = moved.get(one.name) or f"{package}.{one.name}"
            source, _, name = new.rpartition(".")
            known_as = one.asname or self._names.get(one.name, one.name)
            sources.setdefault(source, []).append(format_import(name, known_as))
        lines = [f"from {source} import {', '.join(names)}" for source, names in sources.items()]
        return f"\n{' ' * node.col_offset}".join(lines)

    def _is_top(self, module: str | None) -> bool:
        """Return whether this is a moving top-level package, which `Plan.rewrite` leaves alone."""
        return module is not None and "." not in module and module in self.plan.renames

    def _new_names(self, tree: ast.Module) -> dict[str, str]:
        """Return the new names, in this file, of modules whose last name changes."""
        taken = set(list_names(tree))
        found = {}
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom):
                continue
            for one in node.names:
                new = self._moved_modules(node).get(one.name, "").rpartition(".")[2]
                if not new or one.asname or new == one.name:
                    continue
                if new in taken or one.name in set(list_bound_names(tree)):
                    self.kept_names.append(f"{self.file}:{node.lineno}: {new} as {one.name}")
                else:
                    found[one.name] = new
        return found

    def _span(self, node: ast.stmt | ast.expr) -> Span:
        """Return the span of a node; nodes of a parsed text always have an end."""
        begin = self._starts[node.lineno - 1] + node.col_offset
        return begin, self._starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)

    @cached_property
    def _starts(self) -> list[int]:
        found = [0]
        for line in self.text.encode().split(b"\n"):
            found.append(found[-1] + len(line) + 1)
        return found


def format_import(name: str, known_as: str | None) -> str:
    """Return an imported name, with `as` only if the file uses another name for it."""
    return name if known_as in (None, name) else f"{name} as {known_as}"


def list_names(tree: ast.Module) -> Iterator[str]:
    """Yield every name that a file uses or binds."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
    yield from list_bound_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (one.asname or one.name for one in node.names)


def list_bound_names(tree: ast.Module) -> Iterator[str]:
    """Yield every name that a file binds other than by an import."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name
            case ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name):
                yield name
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                yield name
            case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                yield name


class ImportRemover(ast.NodeTransformer):
    """Removes the imports from a syntax tree."""

    def visit_Import(self, _: ast.Import) -> None:
        """Remove it."""

    def visit_ImportFrom(self, _: ast.ImportFrom) -> None:
        """Remove it."""


class RenameTransformer(ImportRemover):
    """Turns the current syntax tree into the one expected after the move."""

    def __init__(self, plan: MovePlan, names: dict[str, str]) -> None:
        """Rename the modules of a plan, and these names."""
        self._plan = plan
        self._names = names
        self._packages: set[str] = set()

    def visit_Module(self, node: ast.Module) -> ast.AST:
        """Collect the packages that statements like `import mail.wire` bind."""
        imports = [one for one in ast.walk(node) if isinstance(one, ast.Import)]
        self._packages = {name.name.partition(".")[0] for one in imports for name in one.names}
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.Name:
        """Rename it."""
        return ast.Name(self._names.get(node.id, node.id), node.ctx)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        """Rename it, if it is the dotted name of a module that moves."""
        name = ast.unparse(node)
        if name in self._plan.renames and name.partition(".")[0] in self._packages:
            return ast.parse(self._plan.renames[name], mode="eval").body
        return ast.Attribute(self.visit(node.value), node.attr, node.ctx)

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        """Rename modules in a string."""
        if isinstance(node.value, str):
            return ast.Constant(self._plan.rewrite(node.value), node.kind)
        if isinstance(node.value, bytes):
            text = node.value.decode("latin-1")
            return ast.Constant(self._plan.rewrite(text).encode("latin-1"), node.kind)
        return node


def apply_plan(root: Path, plan_text: str) -> list[str]:
    """Apply a plan in a clone; return imports that keep an old name. Raises `PlanError`."""
    files = run_git(root, "ls-files").splitlines()
    plan = MovePlan.read(plan_text, files)
    written: dict[str, str] = {}
    kept: list[str] = []
    for file in files:
        if file.endswith(".sql"):
            continue
        try:
            text = (root / file).read_text("utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        source = SourceFile(plan, file, text)
        rewritten = source.rewrite() if file.endswith(".py") else plan.rewrite(text)
        kept += source.kept_names
        if rewritten != text:
            written[file] = rewritten
    for file, text in written.items():
        (root / file).write_text(text, "utf-8")
    for file in files:
        if (new := plan.new_path(file)) != file:
            (root / new).parent.mkdir(parents=True, exist_ok=True)
            run_git(root, "mv", file, new)
    for name, docstring in plan.packages.items():
        init = root / as_path(name) / "__init__.py"
        init.write_text(f'"""{docstring}"""\n', "utf-8")
        run_git(root, "add", str(init))
    return kept


def run_git(root: Path, *words: str) -> str:
    """Run git; return its output."""
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in apply_plan(Path(), Path(sys.argv[1]).read_text()))
