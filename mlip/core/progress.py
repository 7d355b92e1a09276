"""What a person sees in the terminal: progress bars and lines on standard error.

Every text is printed as it is: names and messages may hold brackets, braces and colons, which rich takes for markup,
fields and emojis by default.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

console = Console(stderr=True, highlight=False, markup=False, emoji=False)


def bar(*columns: ProgressColumn) -> Progress:
    """A progress bar on the terminal, its description first; columns of text take no markup (`literal`)."""
    return Progress(literal("  {task.description}"), BarColumn(), *columns, console=console)


def literal(text_format: str) -> TextColumn:
    """A column of text that is shown as it is, with the fields of the task in braces."""
    return TextColumn(text_format, markup=False)


@contextmanager
def estimate(label: str) -> Iterator[Callable[[int, int, float | None], None]]:
    """A progress bar of long work; yields a function of the finished things, of how many, and the seconds left."""
    with bar(MofNCompleteColumn(), TimeElapsedColumn(), literal("left {task.fields[left]}")) as shown:
        task = shown.add_task(label, total=None, left="unknown")

        def tick(done: int, total: int, left_s: float | None) -> None:
            left = "unknown" if left_s is None else str(timedelta(seconds=int(left_s)))
            shown.update(task, completed=done, total=total, left=left)

        yield tick


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar; yields a function that takes the number of finished things."""
    with bar(MofNCompleteColumn(), TimeElapsedColumn(), literal("left"), TimeRemainingColumn()) as shown:
        task = shown.add_task(label, total=total)
        yield lambda done: shown.update(task, completed=done)
