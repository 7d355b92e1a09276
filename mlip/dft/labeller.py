"""Labels of frames at the level of a run, or at a variant of it, for the stages that need them.

Takes frames; gives their labels from the store of the run, calculated where they are not there, and remembers what has
no label and why.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms

from mlip.core.progress import estimate
from mlip.dft import engines, queue, single_points, tasks
from mlip.dft.settings import Dft


class Labeller:
    """Labels of frames on request.

    Attributes:
        problems: frames without a label, with the reason; what the next call may add is `queue.left` of these.
    """

    def __init__(  # noqa: D417  (the attributes are described above)
        self, dft: Dft, store: Path, *, workers: int, say: Callable[[str], None], with_refused: bool = False
    ) -> None:
        """Take the level of theory, the folder of the labels of all levels, and how many processes may run.

        Args:
            with_refused: give labels that failed a check too, to be measured and never trained on.
        """
        self._dft, self._store, self._workers, self._say = dft, store, workers, say
        self._with_refused = with_refused
        self.problems: list[queue.Problem] = []

    def __call__(self, frames: Sequence[Atoms], changes: Mapping[str, Any]) -> tuple[Atoms | None, ...]:
        """Labels of the frames at the level with these changes; None where there is none."""
        dft = engines.varied(self._dft, changes)
        with estimate(str(frames[0].info["group"])) as tick:
            made = queue.label(frames, dft, self._store, workers=self._workers, on_tick=tick)
        for problem in made.problems:
            self._say(f"{problem.frame_id}: {problem.reason}")
        self.problems += made.problems
        return _with_refused(frames, made) if self._with_refused else made.frames

    def has(self, frames: Sequence[Atoms]) -> bool:
        """Whether there is nothing to calculate for these frames at the level of the run."""
        store = tasks.Store(self._store / queue.settings_hash(self._dft))
        return all(store.is_settled(tasks.digest(frame, self._dft)) for frame in frames)


def _with_refused(frames: Sequence[Atoms], made: queue.Labelled) -> tuple[Atoms | None, ...]:
    aside = {p.frame_id: Path(p.file) for p in made.problems if p.file is not None}
    pairs = [(f, found, aside.get(str(f.info["frame_id"]))) for f, found in zip(frames, made.frames, strict=True)]
    return tuple(found if file is None else single_points.read_refused(file, f) for f, found, file in pairs)
