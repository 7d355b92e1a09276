"""A band of which half is evaluated and half made by the operation that maps the hop onto its reverse.

Takes the two ends of a hop; gives the steps of its band as `band` does. What was made is held against the potential
itself: the final end, an image of the first step and one of the last. Where it differs the band goes on in full.
"""

from collections.abc import Callable, Sequence

from ase import Atoms

from mlip.stages.neb import band as moving
from mlip.stages.neb import reversal
from mlip.stages.neb.reversal import Reversal
from mlip.stages.neb.settings import NebSettings

NOTE = "half of the images made by symmetry"


def turning(initial: Atoms, final: Atoms, settings: NebSettings) -> Reversal | None:
    """The operation that maps a hop onto its reverse, where it is to make half of an odd number of images."""
    return reversal.between(initial, final) if settings.half_symmetric and settings.images % 2 else None


def still(turned: Reversal | None, images: Sequence[Atoms], *, running: bool) -> Reversal | None:
    """The operation where it maps the band onto its reverse: exactly the ends and, once it runs, every image."""
    if turned is None or turned.apart([images[0], images[-1]]) > reversal.EXACT_ANGSTROM:
        return None
    limit = reversal.EXACT_ANGSTROM if running else reversal.NEAR_ANGSTROM
    return turned if turned.apart(images) <= limit else None


def optimised(
    images: list[Atoms],
    tally: moving.Tally,
    *,
    settings: NebSettings,
    progress: moving.Progress | None,
    save: Callable[[moving.Progress], None],
    turned: Reversal | None,
) -> moving.Steps[tuple[moving.Progress, Reversal | None]]:
    """Progress of the band, and the operation that made half of it: None where an image made by it was found wrong."""
    made = (len(images) + 1) // 2  # the image next to the middle
    if turned is not None and progress is None:
        yield from moving.interior(images, tally, turned)
        progress = moving.Progress()
        if not (yield from _made_well(images[made], made, tally)):
            turned = None
            yield from moving.interior(images, tally, None)
    progress = yield from moving.optimised(
        images, tally, settings=settings, progress=progress, save=save, reversal=turned
    )
    if turned is None or (yield from _made_well(images[made], made, tally)):
        return progress, turned
    yield from moving.interior(images, tally, None)
    begun = moving.Progress(step=progress.step, climbing=progress.climbing)
    return (yield from moving.optimised(images, tally, settings=settings, progress=begun, save=save)), None


def _made_well(image: Atoms, place: int, tally: moving.Tally) -> moving.Steps[bool]:
    """Whether the potential says of an image made by symmetry what was made of it; if not, a line in the log."""
    energy, force = yield from moving.image_error(image, place, tally)
    if max(energy, force) <= moving.SAME_POTENTIAL:
        return True
    moving.log.warning(
        "an image made by symmetry is %.2f meV and %.4f eV/Angstrom off; the band goes on in full", 1e3 * energy, force
    )
    return False


def turned_end(initial: Atoms, place: int, tally: moving.Tally, turned: Reversal) -> moving.Steps[Atoms | None]:
    """The final end made of the initial one; None where the potential says something else of it."""
    made = initial.copy()
    moving.reflect(initial, made, turned)
    return made if (yield from _made_well(made, place, tally)) else None
