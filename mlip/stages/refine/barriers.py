"""DFT barriers of hops: those that datasets declare on their cards, and those that the run has refined.

Takes labelled paths with their frames, or rows of the stage `refine`; gives one `DftBarrier` each. A barrier between
points that are stationary in DFT is `refined`; others are single points at the geometry of another potential.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ase import Atoms
from ase.geometry import find_mic

from mlip.atoms import extxyz
from mlip.atoms.likeness import SAME_PLACE_ANGSTROM, place_difference
from mlip.atoms.structures import Host
from mlip.core.section import Target
from mlip.stages.dataset.card import LabelledPath, labels_fit, other_theory, read_card, same_cell
from mlip.stages.neb.band import largest
from mlip.stages.refine.loop import CONVERGED
from mlip.stages.refine.refined import Refined


@dataclass(frozen=True, kw_only=True)
class Relaxed:
    """The barriers of a hop whose ends and saddle are stationary in DFT, at the level of the potential."""

    host: str
    ion: str
    hop: str
    forward_ev: float
    reverse_ev: float | None
    d3_forward_ev: float | None
    std_ev: float | None
    d3_reverse_ev: float | None = None


@dataclass(frozen=True, kw_only=True)
class DftBarrier:
    """DFT energy difference, saddle image minus initial image, of single points on a path."""

    host: str
    ion: str
    hop: str
    group: str
    barrier_ev: float  # PBE
    d3_ev: float | None  # D3(BJ) difference at the same images
    force_ev_per_angstrom: float | None  # largest DFT force on an atom of both images: how far from relaxed
    geometry: str
    note: str
    own_band: bool = False  # begun from a band of this run's potential
    reverse_ev: float | None = None  # PBE; None also where the hop is symmetric
    reverse_d3_ev: float | None = None
    refined: bool = False  # ends and saddle are stationary in DFT
    calls: int | None = None  # that it took
    std_ev: float | None = None  # of a refined barrier: noise of the labels and the forces left

    def at_level(self, target: str) -> float | None:
        """The barrier at the level of the potential; None where D3 is wanted and not there."""
        return self.barrier_ev if target == "pbe" else self.with_d3_ev

    @property
    def with_d3_ev(self) -> float | None:
        """The barrier with D3; None where D3 is not known."""
        return None if self.d3_ev is None else self.barrier_ev + self.d3_ev


SAME_LENGTH_ANGSTROM = 0.5  # one hop by two methods: up to 0.1; two minima of one void of anatase (001): 0.8
PARTS = ("initial state", "saddle", "final state")  # of a band, in the order of `BandOf`
BandOf = Callable[[LabelledPath], tuple[Atoms, Atoms, Atoms] | None]


def declared(
    folders: Sequence[Path],
    hosts: Sequence[Host],
    conventional: Atoms,
    *,
    say: Callable[[str], None],
    band_of: BandOf = lambda _: None,
) -> tuple[DftBarrier, ...]:
    """The barriers that datasets declare for a crystal and its facets, at the theory of the first dataset.

    Args:
        folders: of the datasets.
        hosts: of the run.
        conventional: cell of the crystal.
        say: told which dataset is of another theory, and which path has no frames or is of another hop.
        band_of: initial image, saddle and final image of the run's own band of the hop of that name, if there is one.
    """
    found: list[DftBarrier] = []
    first = read_card(folders[0]) if folders else None
    for folder in folders:
        card = read_card(folder)
        if first is not None and (other := other_theory(first, card)):
            say(f"{folder}: {other} differ from {folders[0]}; its barriers are not used")
            continue
        frames = {str(f.info["frame_id"]): f for f in extxyz.read_frames(folder / "frames.extxyz")}
        fitting = [p for p in card.paths if labels_fit(p, frames, hosts, conventional)]
        for path in fitting:
            if missing := [name for name in (path.initial, path.saddle) if name not in frames]:
                say(
                    f"{folder}: card.yaml: path of {path.ion} {path.hop}: no frame {missing[0]!r}; the path is not used"
                )
        own = []
        for path in fitting:
            of, band = f"{folder}: path of {path.ion} {path.hop}", band_of(path)
            if other_place := _other_place(path, frames, band):
                say(f"{of}: {other_place}; the path is not used")
                continue
            own.append(_in_cell(path, frames, hosts))
            if other_end := _other_end(path, frames, band):
                say(f"{of}: {other_end}; its reverse barrier is not used")
                own[-1] = replace(own[-1], final=None)
        found += of_paths(own, frames)
    return tuple(found)


def _other_place(path: LabelledPath, frames: Mapping[str, Atoms], band: tuple[Atoms, Atoms, Atoms] | None) -> str:
    """Where the ion of a path is at another place than on the run's own band; empty where it is not, or is not known.

    Hops are named in the order in which they are found, so that another potential may name another hop the same.
    """
    initial, saddle = frames.get(path.initial), frames.get(path.saddle)
    return _apart("initial state", initial, band, path.ion) or _apart("saddle", saddle, band, path.ion)


def _other_end(path: LabelledPath, frames: Mapping[str, Atoms], band: tuple[Atoms, Atoms, Atoms] | None) -> str:
    """Where a path ends at another place than the run's own band; empty where it does not, or is not known.

    Two minima of one void have neighbours at the same distances, so that the length of the hop is compared too.
    """
    initial, final = frames.get(path.initial), frames.get(path.final or "")
    if band is None or initial is None or final is None:
        return ""
    ours, own = _hop_length(band[0], band[-1], path.ion), _hop_length(initial, final, path.ion)
    if abs(ours - own) > SAME_LENGTH_ANGSTROM:
        return f"the ion moves by {own:.2f} Angstrom, by {ours:.2f} Angstrom in the run's hop of this name"
    return _apart("final state", final, band, path.ion)


def _hop_length(one: Atoms, other: Atoms, ion: str) -> float:
    """Distance (Angstrom) between the places of the last ion, by the shortest way."""
    last = max(k for k, symbol in enumerate(one.symbols) if symbol == ion)
    _, lengths = find_mic((other.positions[last] - one.positions[last])[None], one.cell, pbc=True)
    return float(lengths[0])


def _apart(part: str, frame: Atoms | None, band: tuple[Atoms, Atoms, Atoms] | None, ion: str) -> str:
    """How far the ion of a frame is from its place on the run's own band; empty where it is there, or is not known."""
    if band is None or frame is None:
        return ""
    apart = place_difference(frame, band[PARTS.index(part)], ion)
    if apart <= SAME_PLACE_ANGSTROM:
        return ""
    return f"at the {part}, distances to neighbours differ by {apart:.2f} Angstrom from the run's hop of this name"


def _in_cell(path: LabelledPath, frames: Mapping[str, Atoms], hosts: Sequence[Host]) -> LabelledPath:
    """The path; one that was relaxed in another cell than that of the run's host is not relaxed here."""
    host, frame = next((h for h in hosts if h.name == path.host), None), frames.get(path.initial)
    if not path.refined or host is None or frame is None or same_cell(frame, host):
        return path
    geometry = f"{path.geometry}, in another cell: {len(frame)} atoms, {host.atoms + 1} in this run"
    return replace(path, refined=False, geometry=geometry)


def of_paths(paths: Sequence[LabelledPath], frames: Mapping[str, Atoms]) -> tuple[DftBarrier, ...]:
    """DFT barrier of each labelled path whose two frames are there; frames by their `frame_id`."""
    found = []
    for path in paths:
        initial, saddle = frames.get(path.initial), frames.get(path.saddle)
        final = frames.get(path.final) if path.final is not None else None
        if initial is None or saddle is None:
            continue
        forces = [f for image in (initial, saddle) if (f := image.arrays.get("dft_forces")) is not None]
        force = path.force_ev_per_angstrom or max(map(largest, forces), default=None)
        found.append(
            DftBarrier(
                host=path.host,
                ion=path.ion,
                hop=path.hop,
                group=path.group,
                barrier_ev=float(saddle.info["dft_energy"] - initial.info["dft_energy"]),
                d3_ev=_above(saddle, initial, "d3_energy"),
                force_ev_per_angstrom=force,
                geometry=path.geometry,
                note=path.note,
                reverse_ev=_above(saddle, final, "dft_energy"),
                reverse_d3_ev=_above(saddle, final, "d3_energy"),
                refined=path.refined,
                calls=path.calls,
                std_ev=path.std_ev,
            )
        )
    return tuple(found)


def _above(saddle: Atoms, end: Atoms | None, key: str) -> float | None:
    """An energy of the saddle minus that of an end; None where one is not known."""
    if end is None or key not in saddle.info or key not in end.info:
        return None
    return float(saddle.info[key] - end.info[key])


def of_refined(rows: Sequence[Refined]) -> tuple[DftBarrier, ...]:
    """DFT barrier of every hop that this run has refined."""
    return tuple(
        DftBarrier(
            host=r.host,
            ion=r.ion,
            hop=r.hop,
            group=r.group,
            barrier_ev=r.pbe_forward_ev,
            d3_ev=r.d3_forward_ev,
            force_ev_per_angstrom=r.force_ev_per_angstrom,
            geometry="band of this potential, relaxed with DFT",
            note="",
            own_band=True,
            reverse_ev=None if r.symmetric else r.pbe_reverse_ev,
            reverse_d3_ev=None if r.symmetric else r.d3_reverse_ev,
            refined=True,
            calls=r.calls,
            std_ev=r.std_ev,
        )
        for r in rows
        if r.status.code == CONVERGED and r.pbe_forward_ev is not None
    )


def dft_of(dft: Sequence[DftBarrier], host: str, ion: str, hop: str) -> DftBarrier | None:
    """The best barrier of a hop, or of a path 'first+second', that DFT has; see `best`."""
    return best([d for d in dft if (d.host, d.ion, d.hop) == (host, ion, hop)])


def best(found: Sequence[DftBarrier]) -> DftBarrier | None:
    """The barrier that is relaxed with DFT, else that of this potential's own band, else with the smallest force."""

    def rank(one: DftBarrier) -> tuple[bool, bool, float]:
        force = one.force_ev_per_angstrom
        return not one.refined, not one.own_band, math.inf if force is None else force

    return min(found, key=rank, default=None)


def relaxed(dft: Sequence[DftBarrier], *, target: Target) -> list[Relaxed]:
    """The barriers relaxed with DFT, one of each hop, at the level of the potential."""
    keys = dict.fromkeys((d.host, d.ion, d.hop) for d in dft if d.refined)
    return [found for key in keys if (found := relaxed_of(dft, *key, target=target)) is not None]


def relaxed_of(dft: Sequence[DftBarrier], host: str, ion: str, hop: str, *, target: Target) -> Relaxed | None:
    """The barrier of a hop relaxed with DFT; None where it is not, or where the level of the potential needs its D3."""
    one = dft_of(dft, host, ion, hop)
    forward = None if one is None else one.at_level(target)
    if one is None or not one.refined or forward is None:
        return None
    extra = 0.0 if target == "pbe" else one.reverse_d3_ev
    return Relaxed(
        host=host,
        ion=ion,
        hop=hop,
        forward_ev=forward,
        reverse_ev=None if one.reverse_ev is None or extra is None else one.reverse_ev + extra,
        d3_forward_ev=one.d3_ev,
        d3_reverse_ev=one.reverse_d3_ev,
        std_ev=one.std_ev,
    )
