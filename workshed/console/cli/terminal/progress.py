"""A progress bar on the terminal."""

import contextlib
import sys
from collections.abc import Callable, Generator

from rich.console import Console
from rich.progress import Progress


@contextlib.contextmanager
def show_progress(total: int, *, quiet: bool = False) -> Generator[Callable[[], None]]:
    """Show a bar on stderr; yield a function to call after each of `total` steps."""
    is_hidden = quiet or not sys.stderr.isatty()
    with Progress(console=Console(stderr=True), transient=True, disable=is_hidden) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)
