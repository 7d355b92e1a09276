"""What refinement says about one hop: the barrier of DFT, how it was reached, and what the potential had there.

Takes the calls of a hop and how the loop ended; gives a `Refined`. A hop that did not converge has a status and no
barrier. The first call of each kind is also a comparison of DFT and potential at one geometry.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase.geometry import find_mic

from mlip.core.arrays import Array
from mlip.core.section import Target
from mlip.core.status import Status
from mlip.dft.single_points import core_seconds
from mlip.stages.dataset.card import LabelledPath
from mlip.stages.neb import band as moving
from mlip.stages.refine import loop
from mlip.stages.refine.loop import FINAL, INITIAL, SADDLE, Call
from mlip.stages.refine.search import Prior, Surface
from mlip.stages.refine.settings import RefineSettings
from mlip.stages.sites.network import Hop

EXTRA = (loop.AHEAD, loop.BEHIND)  # calls for the curvature
PARTS = (INITIAL, SADDLE, FINAL)


@dataclass(frozen=True, kw_only=True)
class SameGeometry:
    """Potential and DFT at the geometries of the first calls, which are the potential's where no label was known."""

    mlip_forward_ev: float
    dft_forward_ev: float
    ion_force_ev_per_angstrom: float  # DFT, on the ion at the saddle
    shell_force_rms_ev_per_angstrom: float | None  # DFT, root mean square of the components in the ion's first shell
    ion_force_error_ev_per_angstrom: float  # potential minus DFT, on the ion
    shell_force_error_rms_ev_per_angstrom: float | None  # of the components

    @property
    def difference_ev(self) -> float:
        """DFT minus potential."""
        return self.dft_forward_ev - self.mlip_forward_ev


@dataclass(frozen=True, kw_only=True)
class Refined:
    """One hop, refined with DFT; energies at the level of the potential unless said."""

    hop: str
    host: str
    ion: str
    group: str
    limiting: bool
    symmetric: bool
    status: Status
    calls: int = 0  # without those for the curvature
    rounds: int = 0
    mlip_forward_ev: float | None = None  # committee mean of the stage neb
    mlip_reverse_ev: float | None = None
    forward_ev: float | None = None  # None unless converged
    reverse_ev: float | None = None
    pbe_forward_ev: float | None = None
    pbe_reverse_ev: float | None = None
    d3_forward_ev: float | None = None  # D3(BJ) part at the same geometries
    d3_reverse_ev: float | None = None
    change_ev: float | None = None  # of the forward barrier, from the labelled to the stationary points
    std_ev: float | None = None  # of the forward barrier, posterior of the correction: noise and forces left
    force_ev_per_angstrom: float | None = None  # largest DFT force left on an atom, ends and saddle
    limit_ev_per_angstrom: float | None = None  # below which a force counts as zero
    curvature_ev_per_angstrom2: float | None = None  # DFT, along the lowest mode of the saddle
    length_angstrom: float | None = None  # of the correction
    amplitude_ev: float | None = None
    seconds: float | None = None  # of the calls, times the cores of each
    first: SameGeometry | None = None
    initial: str | None = None  # frame_id of the last call
    saddle: str | None = None
    final: str | None = None


def outcome(
    hop: Hop,
    path: loop.Hop,
    calls: Sequence[Call],
    done: loop.Finished,
    *,
    prior: Prior,
    settings: RefineSettings,
) -> Refined:
    """The result of a hop to which no call is added."""
    last = loop.latest(calls)
    labels = {part: loop.label_of(call, path.target) for part, call in last.items()}
    converged = done.status.code == loop.CONVERGED
    forward = labels[SADDLE][0] - labels[INITIAL][0] if converged else None
    back = INITIAL if hop.symmetric else FINAL
    reverse = labels[SADDLE][0] - labels[back][0] if converged else None
    change = None
    if converged and done.found is not None and done.correction is not None:
        moves = loop.moves(done.found, last, Surface(prior, done.correction))
        change = moves[SADDLE] - moves[INITIAL]
    forces = [moving.largest(labels[part][1]) for part in PARTS if part in labels]
    bare = named(hop, done.status)
    return _with(
        bare,
        calls=sum(call.part not in EXTRA for call in calls),
        rounds=1 + max((call.round for call in calls), default=-1),
        forward_ev=forward,
        reverse_ev=reverse,
        pbe_forward_ev=_above(last, INITIAL, "dft_energy") if converged else None,
        pbe_reverse_ev=_above(last, back, "dft_energy") if converged else None,
        d3_forward_ev=_above(last, INITIAL, "d3_energy") if converged else None,
        d3_reverse_ev=_above(last, back, "d3_energy") if converged else None,
        change_ev=change,
        std_ev=_std(done, last) if converged else None,
        force_ev_per_angstrom=max(forces, default=None),
        limit_ev_per_angstrom=loop.limit(path.noise, len(path.band[0]), settings.fmax_ev_per_angstrom),
        curvature_ev_per_angstrom2=loop.curvature(calls, path.target),
        length_angstrom=None if done.correction is None or not calls else done.correction.length,
        amplitude_ev=None if done.correction is None or not calls else done.correction.amplitude,
        seconds=_seconds(calls),
        first=_first(path.target, calls, prior, settings),
        initial=_name(last, INITIAL),
        saddle=_name(last, SADDLE),
        final=_name(last, FINAL),
    )


def named(hop: Hop, status: Status) -> Refined:
    """A hop with a status and no number."""
    return Refined(
        hop=hop.name,
        host=hop.host,
        ion=hop.ion,
        group=hop.group,
        limiting=False,
        symmetric=hop.symmetric,
        status=status,
    )


def _with(bare: Refined, **fields: object) -> Refined:
    return Refined(**{**vars(bare), **fields})


def _std(done: loop.Finished, last: Mapping[str, Call]) -> float | None:
    if done.correction is None:
        return None
    return done.correction.difference_std(last[SADDLE].asked.positions, last[INITIAL].asked.positions)


def _name(last: Mapping[str, Call], part: str) -> str | None:
    label = last[part].label if part in last else None
    return None if label is None else str(label.info["frame_id"])


def _above(last: Mapping[str, Call], end: str, key: str) -> float | None:
    ends = [label.info.get(key) for part in (SADDLE, end) if (label := last[part].label) is not None]
    return None if any(e is None for e in ends) else float(ends[0]) - float(ends[1])


def _seconds(calls: Sequence[Call]) -> float | None:
    """Core seconds of the calls that are counted, without those for the curvature; None where no label says."""
    labels = [call.label for call in calls if call.label is not None and call.part not in EXTRA]
    times = [seconds for label in labels if (seconds := core_seconds(label.info)) is not None]
    return sum(times) if times else None


def _first(target: Target, calls: Sequence[Call], prior: Prior, settings: RefineSettings) -> SameGeometry | None:
    """The comparison at the geometries of the first round; None where one of the two labels is not there."""
    begun = {call.part: call for call in calls if call.round == 0 and call.label is not None}
    if not {INITIAL, SADDLE} <= set(begun):
        return None
    ours = {part: prior([0], [begun[part].asked.positions])[0] for part in (INITIAL, SADDLE)}
    dft = {part: loop.label_of(begun[part], target) for part in (INITIAL, SADDLE)}
    saddle = begun[SADDLE].asked
    apart = find_mic(saddle.positions[:-1] - saddle.positions[-1], saddle.cell)[1]
    shell = np.flatnonzero(apart <= settings.first_shell_angstrom)
    wrong = ours[SADDLE][1] - dft[SADDLE][1]
    return SameGeometry(
        mlip_forward_ev=ours[SADDLE][0] - ours[INITIAL][0],
        dft_forward_ev=dft[SADDLE][0] - dft[INITIAL][0],
        ion_force_ev_per_angstrom=float(np.linalg.norm(dft[SADDLE][1][-1])),
        shell_force_rms_ev_per_angstrom=_rms(dft[SADDLE][1][shell]),
        ion_force_error_ev_per_angstrom=float(np.linalg.norm(wrong[-1])),
        shell_force_error_rms_ev_per_angstrom=_rms(wrong[shell]),
    )


def _rms(values: Array) -> float | None:
    return float(np.sqrt((values**2).mean())) if values.size else None


def labelled_path(made: Refined, *, source: str) -> LabelledPath | None:
    """The entry of a dataset card for a hop that is converged; None for others, whose frames are labels alone."""
    if made.initial is None or made.saddle is None or made.status.code != loop.CONVERGED:
        return None
    return LabelledPath(
        group=made.group,
        host=made.host,
        ion=made.ion,
        hop=made.hop,
        initial=made.initial,
        saddle=made.saddle,
        final=made.final,
        geometry=f"relaxed with DFT ({source})",
        refined=True,
        calls=made.calls,
        force_ev_per_angstrom=made.force_ev_per_angstrom,
        std_ev=made.std_ev,
    )
