"""Stationary points of potential plus correction: both ends, the band between them, and the saddle.

Takes the images of a band, a prior and a `Correction`; gives the relaxed ends, the band and its saddle. The band is the
climbing-image band of the stage `neb`, begun from the images given. From its climbing image the saddle is found by
following the lowest mode n, found from forces a little ahead:

    H n = (F(x) - F(x + h n)) / h,      F_eff = F - 2 (F . n) n

Dimer method: Henkelman, Jonsson, J. Chem. Phys. 111, 7010 (1999), doi:10.1063/1.480097; climbing image:
doi:10.1063/1.1329672.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from mlip.core.arrays import Array
from mlip.potential.batch import Batch
from mlip.potential.potential import Evaluator
from mlip.stages.neb import band as moving
from mlip.stages.neb import neb
from mlip.stages.neb.lbfgs import Lbfgs
from mlip.stages.neb.settings import NebSettings
from mlip.stages.refine.correction import Correction

Prior = Callable[[Sequence[int], Sequence[Array]], list[tuple[float, Array]]]  # slots, positions -> energies, forces

TIGHT = 0.01  # eV/Angstrom: ends and saddle of the corrected surface
BAND = 0.1  # eV/Angstrom: the band only leads to the saddle
AHEAD_ANGSTROM = 0.02
TURNS = 60  # of the mode, at most
TURNED = 0.03  # eV/Angstrom^2, what is left of the Hessian times a mode beside the mode: its curvature is then settled
SAME_DIRECTION = 1e-6
ROUNDS = 20  # of turning the mode and moving with the mode fixed
FOLLOWED = 25  # steps of a round
PUSHED_ANGSTROM = 0.15  # uphill along the mode, where its curvature is positive
STEP_ANGSTROM = 0.05


@dataclass(frozen=True)
class Saddle:
    """What the lowest mode leads to."""

    atoms: Atoms | None  # primed; None: no saddle
    mode: Array  # (N, 3), of length 1
    curvature_ev_per_angstrom2: float


@dataclass(frozen=True)
class Found:
    """Stationary points of the corrected surface."""

    band: neb.Band
    images: tuple[Atoms, ...]  # of the band, ends relaxed
    saddle: Atoms | None  # None: the band has none
    mode: Array | None  # (N, 3) of length 1, the direction of negative curvature at the saddle
    curvature_ev_per_angstrom2: float | None
    forward_ev: float | None  # saddle minus initial end on the corrected surface


def committee(evaluator: Evaluator, template: Atoms, count: int) -> Prior:
    """The committee mean as a prior of so many structures that move."""
    batch = Batch(evaluator, [template] * count)

    def mean(slots: Sequence[int], positions: Sequence[Array]) -> list[tuple[float, Array]]:
        return [(one.energy_ev, one.mean_forces) for one in batch(positions, which=slots)]

    return mean


class Surface:
    """Prior plus correction for images in slots."""

    def __init__(self, prior: Prior, correction: Correction) -> None:
        self._prior, self._correction = prior, correction

    def __call__(self, first: int, positions: Sequence[Array]) -> list[moving.Result]:
        """Energies and forces at positions in the slots from `first` on."""
        found = self._prior(range(first, first + len(positions)), positions)
        extra = [self._correction(p) for p in positions]
        return [(e + de, f + df, None) for (e, f), (de, df) in zip(found, extra, strict=True)]


def search(band: Sequence[Atoms], surface: Surface, settings: NebSettings, *, symmetric: bool = False) -> Found:
    """Ends, band and saddle on the surface, from the images of a band; its slots are the places in the band.

    Args:
        band: images to begin from, ends included.
        surface: prior and correction.
        settings: of the stage `neb`; the thresholds are those of this module.
        symmetric: an operation turns the hop around, on this surface too, so that half of the images are made by it.
    """
    own = settings.model_copy(
        update={"images": len(band) - 2, "end_fmax_ev_per_angstrom": TIGHT, "fmax_ev_per_angstrom": BAND,
                "half_symmetric": symmetric}
    )  # fmt: skip
    name = neb.BandName(hop="", host="")
    steps = neb.climbing(band[0], band[-1], settings=own, name=name, begun=band, ion_as_given=True)
    found, images = _driven(steps, surface)
    if found.forward_ev is None:
        return Found(found, tuple(images), None, None, None, None)
    top = int(np.argmax(found.energies_ev))
    tangent = images[top + 1].positions - images[top - 1].positions
    point = followed(images[top], tangent, lambda place: surface(top, [place])[0])
    if point.atoms is None:
        return Found(found, tuple(images), None, point.mode, point.curvature_ev_per_angstrom2, None)
    forward = float(point.atoms.get_potential_energy() - images[0].get_potential_energy())
    return Found(found, tuple(images), point.atoms, point.mode, point.curvature_ev_per_angstrom2, forward)


def _driven(steps: moving.Steps[tuple[neb.Band, list[Atoms]]], surface: Surface) -> tuple[neb.Band, list[Atoms]]:
    try:
        place, wanted = next(steps)
        while True:
            place, wanted = steps.send(surface(place, [image.positions for image in wanted]))
    except StopIteration as end:
        made: tuple[neb.Band, list[Atoms]] = end.value
        return made


def followed(start: Atoms, mode: Array, forces_of: Callable[[Array], moving.Result]) -> Saddle:
    """The saddle that the lowest mode leads to, primed, with its mode and curvature.

    There is no saddle where the force is not below TIGHT after so many steps, or the lowest curvature is positive.

    Args:
        start: near the saddle.
        mode: a first guess of the mode (N, 3), of any length.
        forces_of: energy and forces at positions.
    """
    image, n = start.copy(), mode / np.linalg.norm(mode)
    for _ in range(ROUNDS):
        n, curvature = lowest(image.positions, n, forces_of)
        settled = False
        if curvature > 0:
            uphill = float((forces_of(image.positions)[1] * n).sum())
            image.positions += (-PUSHED_ANGSTROM if uphill > 0 else PUSHED_ANGSTROM) * n
            continue
        optimiser = Lbfgs(stiffness=moving.STIFFNESS, max_step=STEP_ANGSTROM, memory=moving.MEMORY)
        for step in range(FOLLOWED):
            energy, forces, _ = forces_of(image.positions)
            if moving.largest(forces) < TIGHT:
                settled = step == 0
                break
            image.positions += optimiser.step(image.positions, forces - 2 * (forces * n).sum() * n)
        if settled:
            moving.prime(image, energy=energy, forces=forces, std=None)
            return Saddle(image, n, curvature)
    return Saddle(None, n, curvature)


def lowest(place: Array, guess: Array, forces_of: Callable[[Array], moving.Result]) -> tuple[Array, float]:
    """The lowest mode (N, 3) at a geometry and its curvature (eV/Angstrom^2), from a guess of length 1.

    Locally optimal conjugate gradients: A. V. Knyazev, SIAM J. Sci. Comput. 23, 517 (2001),
    doi:10.1137/S1064827500366124.
    """
    here = forces_of(place)[1].ravel()

    def bent(along: Array) -> Array:
        ahead = forces_of(place + AHEAD_ANGSTROM * along.reshape(place.shape))[1].ravel()
        return np.asarray((here - ahead) / AHEAD_ANGSTROM)

    vectors = [guess.ravel()]
    images = [bent(vectors[0])]
    for _ in range(TURNS):
        n, curved = vectors[0], images[0]
        curvature = float(n @ curved)
        left = curved - curvature * n
        if np.linalg.norm(left) < TURNED:
            break
        basis, turned = _orthonormal([*vectors, left], [*images, None], bent)
        _, weights = np.linalg.eigh((basis @ turned.T + turned @ basis.T) / 2)
        w = weights[:, 0]
        rest = np.concatenate([[0.0], w[1:]])
        vectors, images = [w @ basis], [w @ turned]
        if np.linalg.norm(rest) > 1e-6:
            vectors, images = [*vectors, rest @ basis], [*images, rest @ turned]
    return vectors[0].reshape(place.shape), curvature


def _orthonormal(
    vectors: Sequence[Array], images: Sequence[Array | None], bent: Callable[[Array], Array]
) -> tuple[Array, Array]:
    """Orthonormal directions of the vectors and what the Hessian makes of them; asked for where it is not known."""
    basis: list[Array] = []
    turned: list[Array] = []
    for vector, image in zip(vectors, images, strict=True):
        made, curved = vector.copy(), None if image is None else image.copy()
        for b, t in [*zip(basis, turned, strict=True)] * 2:
            part = made @ b
            made = made - part * b
            curved = None if curved is None else curved - part * t
        length = float(np.linalg.norm(made))
        if length < SAME_DIRECTION * float(np.linalg.norm(vector)):
            continue
        basis.append(made / length)
        turned.append(bent(basis[-1]) if curved is None else curved / length)
    return np.array(basis), np.array(turned)
