"""DFT single points on the potential's own paths: is its barrier the barrier of DFT at the same geometry?

Takes a converged band of one hop (images with the potential's energies and forces) and, later, DFT labels of some of
its images; gives the frames to label, most useful first, and a `Step`: both barriers, the DFT forces that are left at
the saddle, and whether a DFT band is needed. What has no label has a status and no number.

    barrier(DFT at the potential's geometry) = E_DFT(saddle image) - E_DFT(end image)

The geometry is the potential's, so neither the ends nor the saddle are stationary in DFT. A neighbour of the saddle
that DFT puts above it shows that the path's DFT maximum lies elsewhere and is at least as high. Where the residual
force or the difference is large, only a band relaxed with DFT can tell (climbing image: doi:10.1063/1.1329672).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from mlip.atoms.dispersion import target_labels
from mlip.core.arrays import Array
from mlip.core.section import Target
from mlip.core.status import INCOMPLETE, NOT_CALCULATED, Status
from mlip.stages.dataset.card import LabelledPath
from mlip.stages.ladder.settings import LadderSettings
from mlip.stages.neb import neb
from mlip.stages.sites.network import Hop

SADDLE, INITIAL, FINAL, BEFORE, AFTER = "saddle", "initial", "final", "before", "after"
RANK = {SADDLE: 0, INITIAL: 0, FINAL: 1, BEFORE: 2, AFTER: 2}  # a barrier needs the first two
ABOVE_EV = 2e-3  # a neighbour this much above the saddle image is above it: the noise of labels is smaller
COMPLETE = "complete"
STANDS, BAND_NEEDED = "stands", "DFT band needed"


@dataclass(frozen=True, kw_only=True)
class Path:
    """A converged band of one hop."""

    hop: Hop
    band: neb.Band
    barrier: neb.Barrier  # of the committee
    images: tuple[Atoms, ...]  # with the potential's energies and forces
    vacuum: bool
    limiting: bool  # the limiting hop of a path between equivalent sites


@dataclass(frozen=True, kw_only=True)
class Step:
    """One hop on the ladder from the potential to DFT; energies at the level of the potential unless said."""

    hop: str
    host: str
    ion: str
    group: str
    member: int  # whose geometry it is
    limiting: bool
    symmetric: bool
    status: Status  # COMPLETE, INCOMPLETE or NOT_CALCULATED
    lacking: tuple[str, ...]
    mlip_forward_ev: float  # of the member
    mlip_reverse_ev: float
    committee_forward_ev: float | None  # mean; None where a member has no barrier
    committee_reverse_ev: float | None
    dft_forward_ev: float | None  # at the member's geometry
    dft_reverse_ev: float | None
    difference_ev: float | None  # DFT minus the member, forward
    pbe_forward_ev: float | None
    d3_forward_ev: float | None  # D3(BJ) part at the same images
    ion_force_ev_per_angstrom: float | None  # DFT force on the ion at the saddle image
    ion_force_along_ev_per_angstrom: float | None  # its component along the ion's way
    shell_force_ev_per_angstrom: float | None  # largest DFT force in the ion's first shell there
    shell_force_rms_ev_per_angstrom: float | None  # root mean square of the components
    ion_force_error_ev_per_angstrom: float | None  # potential minus DFT, on the ion
    shell_force_error_rms_ev_per_angstrom: float | None  # of the components
    peak: str | None  # the highest labelled image in DFT
    peak_ev: float | None  # above the initial image: the path's DFT maximum is at least this
    verdict: Status  # STANDS, BAND_NEEDED or NOT_CALCULATED


def nearest_member(bands: Sequence[neb.Band]) -> neb.Band | None:
    """The converged band whose barrier is nearest the mean of the converged ones; None where none converged."""
    known = [(b, b.forward_ev) for b in bands if b.forward_ev is not None]
    if not known:
        return None
    mean = sum(value for _, value in known) / len(known)
    return min(known, key=lambda pair: (abs(pair[1] - mean), pair[0].member))[0]


def parts_of(path: Path, *, neighbours: bool) -> dict[str, int]:
    """Image of every part to label: one end of a symmetric hop, and one neighbour where its saddle is in the middle."""
    saddle, last = _saddle(path), len(path.images) - 1
    parts = {SADDLE: saddle, INITIAL: 0}
    if not path.hop.symmetric:
        parts[FINAL] = last
    if neighbours and saddle > 1:
        parts[BEFORE] = saddle - 1
    mirrored = path.hop.symmetric and 2 * saddle == last
    if neighbours and saddle < last - 1 and not mirrored:
        parts[AFTER] = saddle + 1
    return parts


def frames(paths: Sequence[Path], *, neighbours: bool, source: str) -> list[list[Atoms]]:
    """Bare frames to label in tiers: barriers of limiting hops, other barriers, then what refines them likewise.

    Args:
        paths: bands to label.
        neighbours: the images beside the saddle too.
        source: whose geometries these are, for `sampling`.
    """
    tiers: dict[tuple[int, bool], list[Atoms]] = {}
    for path in paths:
        for part, image in parts_of(path, neighbours=neighbours).items():
            tiers.setdefault((RANK[part], not path.limiting), []).append(_frame(path, part, image, source))
    return [tiers[key] for key in sorted(tiers)]


def step(path: Path, labels: Mapping[str, Atoms], settings: LadderSettings, *, target: Target) -> Step:
    """What DFT says about one hop, as far as its frames are labelled.

    Args:
        path: the band.
        labels: labelled frames by frame_id.
        settings: section `ladder`.
        target: level of the potential; 'pbe-d3' needs D3 labels.
    """
    parts = parts_of(path, neighbours=settings.neighbours)
    found = {part: labels[name] for part in parts if (name := f"{path.hop.group}_{part}") in labels}
    lacking = tuple(part for part in parts if part not in found)
    energy = {part: target_labels(frame, target)[0] for part, frame in found.items()}
    forward = _difference(energy, SADDLE, INITIAL)
    reverse = forward if path.hop.symmetric else _difference(energy, SADDLE, FINAL)
    mlip_forward, mlip_reverse = _barriers(path)
    difference = None if forward is None else forward - mlip_forward
    peak = _peak(energy) if forward is not None else None
    rests = _rests(path, found[SADDLE], settings, target) if SADDLE in found else _Rests()
    return Step(
        hop=path.hop.name,
        host=path.hop.host,
        ion=path.hop.ion,
        group=path.hop.group,
        member=path.band.member,
        limiting=path.limiting,
        symmetric=path.hop.symmetric,
        status=_status(lacking, known=forward is not None),
        lacking=lacking,
        mlip_forward_ev=mlip_forward,
        mlip_reverse_ev=mlip_reverse,
        committee_forward_ev=path.barrier.forward_ev,
        committee_reverse_ev=path.barrier.reverse_ev,
        dft_forward_ev=forward,
        dft_reverse_ev=reverse,
        difference_ev=difference,
        pbe_forward_ev=_between(found, "dft_energy") if forward is not None else None,
        d3_forward_ev=_between(found, "d3_energy") if forward is not None else None,
        ion_force_ev_per_angstrom=rests.ion,
        ion_force_along_ev_per_angstrom=rests.along,
        shell_force_ev_per_angstrom=rests.shell,
        shell_force_rms_ev_per_angstrom=rests.shell_rms,
        ion_force_error_ev_per_angstrom=rests.ion_error,
        shell_force_error_rms_ev_per_angstrom=rests.shell_error,
        peak=peak,
        peak_ev=_difference(energy, peak, INITIAL) if peak else None,
        verdict=_verdict(difference, rests.ion, peak, settings),
    )


def labelled_path(path: Path, made: Step, *, source: str) -> LabelledPath | None:
    """The entry of a dataset card for a hop whose barrier is labelled; None where it is not."""
    if made.dft_forward_ev is None:
        return None
    name = f"{made.group}_"
    return LabelledPath(
        group=made.group,
        host=made.host,
        ion=made.ion,
        hop=made.hop,
        initial=name + INITIAL,
        saddle=name + SADDLE,
        geometry=f"CI-NEB of the potential ({source}, member {made.member})",
        note="" if path.barrier.status.code == neb.CONVERGED else f"committee: {path.barrier.status.detail}",
    )


@dataclass(frozen=True)
class _Rests:
    """DFT forces at the saddle image, eV/Angstrom."""

    ion: float | None = None
    along: float | None = None
    shell: float | None = None
    shell_rms: float | None = None
    ion_error: float | None = None
    shell_error: float | None = None


def _saddle(path: Path) -> int:
    return int(np.argmax(path.band.energies_ev))


def _barriers(path: Path) -> tuple[float, float]:
    if path.band.forward_ev is None or path.band.reverse_ev is None:
        raise ValueError(
            f"{path.hop.ion} {path.hop.name}: the band is {path.band.status}; give a converged band to the ladder"
        )
    return path.band.forward_ev, path.band.reverse_ev


def _frame(path: Path, part: str, image: int, source: str) -> Atoms:
    atoms = path.images[image]
    frame = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)
    barrier = _barriers(path)[0]
    frame.info = {
        "frame_id": f"{path.hop.group}_{part}",
        "system": path.hop.host,
        "host": path.hop.host,
        "ion": path.hop.ion,
        "group": path.hop.group,
        "sampling": f"CI-NEB {part}, {source}, member {path.band.member}, barrier {barrier:.3f} eV",
        "vacuum": path.vacuum,
    }
    return frame


def _difference(energy: Mapping[str, float], high: str, low: str) -> float | None:
    return energy[high] - energy[low] if high in energy and low in energy else None


def _between(found: Mapping[str, Atoms], key: str) -> float | None:
    ends = [found[part].info.get(key) for part in (SADDLE, INITIAL)]
    return None if any(e is None for e in ends) else float(ends[0]) - float(ends[1])


def _peak(energy: Mapping[str, float]) -> str:
    inner = {part: e for part, e in energy.items() if part in {SADDLE, BEFORE, AFTER}}
    best = max(inner, key=lambda part: inner[part])
    return best if inner[best] > inner[SADDLE] + ABOVE_EV else SADDLE


def _rests(path: Path, label: Atoms, settings: LadderSettings, target: Target) -> _Rests:
    image = _saddle(path)
    dft = target_labels(label, target)[1]
    apart = find_mic(label.positions[:-1] - label.positions[-1], label.cell)[1]
    shell = np.flatnonzero(apart <= settings.first_shell_angstrom)
    way = path.images[image + 1].positions[-1] - path.images[image - 1].positions[-1]
    length = float(np.linalg.norm(way))
    wrong = path.images[image].get_forces() - dft
    return _Rests(
        ion=float(np.linalg.norm(dft[-1])),
        along=float(dft[-1] @ way / length) if length > 0 else None,
        shell=float(np.linalg.norm(dft[shell], axis=1).max()) if len(shell) else None,
        shell_rms=_rms(dft[shell]),
        ion_error=float(np.linalg.norm(wrong[-1])),
        shell_error=_rms(wrong[shell]),
    )


def _rms(values: Array) -> float | None:
    return float(np.sqrt((values**2).mean())) if values.size else None


def _status(lacking: Sequence[str], *, known: bool) -> Status:
    """What the labels are enough for; `known`: the forward barrier."""
    if not known:
        return Status(NOT_CALCULATED)
    return Status(INCOMPLETE, f"lacks {', '.join(lacking)}") if lacking else Status(COMPLETE)


def _verdict(difference: float | None, force: float | None, peak: str | None, settings: LadderSettings) -> Status:
    if difference is None or force is None:
        return Status(NOT_CALCULATED)
    reasons: Iterable[tuple[bool, str]] = (
        (
            force > settings.max_force_ev_per_angstrom,
            f"force on the ion above {settings.max_force_ev_per_angstrom:g} eV/A",
        ),
        (
            abs(difference) > settings.max_difference_ev,
            f"DFT and potential differ by more than {settings.max_difference_ev:g} eV",
        ),
        (peak != SADDLE, f"DFT is higher at the image {peak} the saddle"),
    )
    why = "; ".join(text for true, text in reasons if true)
    return Status(BAND_NEEDED, why) if why else Status(STANDS)
