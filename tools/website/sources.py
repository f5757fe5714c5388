"""The files of the repository that are pages of the site, and their places on it."""

from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parent.parent.parent
DOCS = PurePosixPath("docs")
README = PurePosixPath("README.md")
SECURITY = PurePosixPath("SECURITY.md")
ASSETS = frozenset({".css", ".png", ".svg"})
"""Files of `docs` that the site contains as they are."""


def list_pages(root: Path = ROOT) -> list[PurePosixPath]:
    """Return each Markdown file that is a page, as a path in the repository."""
    patterns = ("*.md", "docs/**/*.md", "deploy/**/*.md")
    return _list_files(root, *(path for pattern in patterns for path in root.glob(pattern)))


def list_assets(root: Path = ROOT) -> list[PurePosixPath]:
    """Return the pictures and stylesheets, as paths in the repository."""
    return _list_files(root, *(one for one in root.glob("docs/**/*") if one.suffix in ASSETS))


def place_on_site(path: PurePosixPath) -> PurePosixPath:
    """Return where a file of the repository is on the site: `docs/` is its root.

    A folder's README is its index. The README of the repository is `overview.md`, because
    `docs/index.md` is the start page; and the policy for vulnerabilities is next to
    `docs/security.md`.
    """
    if path == README:
        return PurePosixPath("overview.md")
    if path == SECURITY:
        return PurePosixPath("security-policy.md")
    if path.is_relative_to(DOCS):
        path = path.relative_to(DOCS)
    if path.suffix != ".md":
        return path
    if path.name == README.name:
        return path.with_name("index.md")
    return path.with_name(path.name.lower())


def _list_files(root: Path, *files: Path) -> list[PurePosixPath]:
    return sorted(PurePosixPath(path.relative_to(root).as_posix()) for path in files)
