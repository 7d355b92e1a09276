"""What a person sees in the terminal: progress bars and lines on standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False, markup=False)  # [native] is text, and so are paths with brackets


@contextmanager
def estimate(label: str) -> Iterator[Callable[[int, int, float | None], None]]:
    """A progress bar of long work; yields a function of the finished things, of how many, and the seconds left."""
    columns = (
        TextColumn(f"  {label}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left {task.fields[left]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(label, total=None, left="unknown")

        def tick(done: int, total: int, left_s: float | None) -> None:
            left = "unknown" if left_s is None else str(timedelta(seconds=int(left_s)))
            bar.update(task, completed=done, total=total, left=left)

        yield tick


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar; yields a function that takes the number of finished things."""
    columns = (
        TextColumn(f"  {label}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.update(task, completed=done)
