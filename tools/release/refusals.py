"""Reasons against a release, each with what to do about it."""

from pathlib import Path

from tools.release.changelog import FILE, list_releases
from tools.release.errors import ReleaseError
from tools.release.programs import run_git

SOURCE = "workshed/__init__.py"
MOST_FILES = 10
"""Files of a working tree that a refusal names."""


def list_refusals(root: Path, version: str) -> list[str]:
    """Return why the commit that is checked out cannot be released as this version."""
    found = (
        refuse_changes(root),
        refuse_missing_section(root, version),
        refuse_used_tag(root, version),
    )
    return [one for one in found if one]


def check_commit(root: Path, version: str) -> None:
    """Raise `ReleaseError` with all refusals."""
    if refusals := list_refusals(root, version):
        raise ReleaseError("\n".join(refusals))


def refuse_changes(root: Path) -> str | None:
    """Refuse changes that no commit has, because the packages are built from a commit."""
    changed = [line[3:] for line in run_git(root, "status", "--porcelain").splitlines()]
    if not changed:
        return None
    named = ", ".join(changed[:MOST_FILES]) + (", …" if len(changed) > MOST_FILES else "")
    return f"The working tree has changes; commit them, or run `git stash -u`: {named}"


def refuse_missing_section(root: Path, version: str) -> str | None:
    """Refuse a version that the changelog does not describe."""
    if version in list_releases(root):
        return None
    return (
        f"{FILE} has no section for {version}: rename [Unreleased] to `## [{version}] - ` and the "
        f"date, and write a new [Unreleased] above it; or set the version in {SOURCE}"
    )


def refuse_used_tag(root: Path, version: str) -> str | None:
    """Refuse a version whose tag is on another commit."""
    tag = f"v{version}"
    if not run_git(root, "tag", "--list", tag).strip():
        return None
    tagged = run_git(root, "rev-parse", f"{tag}^{{commit}}").strip()
    here = run_git(root, "rev-parse", "HEAD").strip()
    if tagged == here:
        return None
    return (
        f"{tag} is commit {tagged[:12]}, and you are on {here[:12]}: check out {tag} to build it "
        f"again, or raise the version in {SOURCE} and write its section in {FILE}"
    )
