"""The diffusion coefficient of an ion from trajectories of any origin, without a run and without a network of sites.

Takes trajectories of one system at one temperature; gives D by the Bayesian regression of kinisi (doi:10.1021/acs.jctc.
4c01249) with its 95 % interval, D from displacements longer than a jump as an independent value, and in a crystal the
conductivity of independent ions,

    sigma = n z^2 e^2 D / (V k T)    (Nernst and Einstein).

Without sites, a displacement is a jump where an ion is `jump_angstrom` away from where its last jump ended. Too few of
them are no sample of a random walk (He, Zhu, Epstein and Mo, doi:10.1038/s41524-018-0074-y), nor are jumps that cancel
(an ion in a cage): then there is an upper limit and a status, and no value.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from scipy import constants

from mlip.atoms import ions
from mlip.core import files
from mlip.core.arrays import Array
from mlip.core.status import NOT_RESOLVED, Status
from mlip.core.units import CM2_PER_S
from mlip.stages.diffusion import diffusion
from mlip.stages.diffusion.hops import Estimate, poisson_rate
from mlip.stages.diffusion.settings import DiffusionSettings
from mlip.tools import trajectories, trajectory_files
from mlip.tools.trajectories import IonTracks, Reading

JUMP_ANGSTROM = 2.0  # beyond vibrations (below 1) and below most distances of sites (2.5 to 4)
LONGEST_ANGSTROM = 4.0  # of a hop, for the upper limit where none was seen

SEED = 1  # of the sampling of the regression


@dataclass(frozen=True, kw_only=True)
class IonDiffusion:
    """Diffusion of one ion; without a value, `high` is an upper limit of 95 %."""

    ion: str
    ions: int  # in one trajectory
    trajectories: int
    frames: int  # of the shortest trajectory, as used
    frame_ps: float
    ion_ps: float  # time of all ions together
    dimensions: int  # 2 on a slab, 3 in a crystal, unless the user says otherwise
    jump_angstrom: float
    jumps: int  # displacements of that length
    status: Status  # RESOLVED, NOT_RESOLVED, NO_HOP or CANCELLED
    diffusion_cm2_per_s: Estimate
    from_jumps_cm2_per_s: Estimate  # by another estimator, as a check
    temperature_kelvin: float | None
    conductivity_s_per_cm: Estimate | None  # of independent ions; None on slabs and without temperature or charge
    times_ps: tuple[float, ...]
    msd_angstrom2: tuple[float, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """How tracks are analysed; the fields are arguments of `diffusion_of`."""

    temperature_kelvin: float | None = None
    charge: float | None = None
    skip_ps: float = 0.0
    jump_angstrom: float = JUMP_ANGSTROM
    longest_jump_angstrom: float = LONGEST_ANGSTROM

    def __post_init__(self) -> None:
        """Refuse values that no analysis has.

        Raises:
            ValueError: a length or temperature that is not positive, a time below zero, or a longest jump that is none.
        """
        values = {"temperature_kelvin": self.temperature_kelvin, "jump_angstrom": self.jump_angstrom}
        for name, value in values.items():
            if value is not None and not value > 0:
                raise ValueError(f"{name}: {value:g} is not above 0")
        if not self.skip_ps >= 0:
            raise ValueError(f"skip_ps: {self.skip_ps:g} is below 0; it is a time from the beginning")
        if not self.longest_jump_angstrom >= self.jump_angstrom:
            raise ValueError(
                f"longest_jump_angstrom: {self.longest_jump_angstrom:g} is below jump_angstrom, {self.jump_angstrom:g}"
            )


def diffusion_of(  # noqa: PLR0913  (what was simulated and how it is read are independent)
    frames: Sequence[Iterable[Atoms]] | Iterable[Atoms],
    ion: str,
    *,
    frame_fs: float | None = None,
    temperature_kelvin: float | None = None,
    charge: float | None = None,
    skip_ps: float = 0.0,
    jump_angstrom: float = JUMP_ANGSTROM,
    longest_jump_angstrom: float = LONGEST_ANGSTROM,
    dimensions: int | None = None,
) -> IonDiffusion:
    """The diffusion coefficient of an ion with its interval.

    Args:
        frames: a trajectory, or several of one system at one temperature; wrapped or not.
        ion: chemical symbol.
        frame_fs: time from frame to frame; not needed where the info of the frames has `time_fs` or `time_ps`.
        temperature_kelvin: for the conductivity.
        charge: of the ion in elementary charges, for the conductivity; by default the usual one.
        skip_ps: equilibration at the beginning, left out.
        jump_angstrom: displacement that counts as a jump.
        longest_jump_angstrom: longest hop that the structure allows, for the upper limit where no jump is seen.
        dimensions: 2 or 3; by default 2 where there is vacuum along one cell vector.

    Raises:
        ValueError: a value that is not positive, or trajectories that cannot be read as those of one system; see
            `trajectories.tracks`.
    """
    analysis = Analysis(
        temperature_kelvin=temperature_kelvin,
        charge=charge,
        skip_ps=skip_ps,
        jump_angstrom=jump_angstrom,
        longest_jump_angstrom=longest_jump_angstrom,
    )
    reading = Reading(frame_fs=frame_fs, dimensions=dimensions)
    given = [one if isinstance(one, Atoms) else list(one) for one in frames]
    parts = [given] if all(isinstance(one, Atoms) for one in given) else given
    found = [trajectories.tracks(part, ion, f"trajectory {k}", reading) for k, part in enumerate(parts, start=1)]
    return of_tracks(found, ion, analysis)


def diffusion_of_files(
    paths: Sequence[Path], ion: str, reading: Reading, analysis: Analysis, out: Path | None = None
) -> IonDiffusion:
    """The same from files; with `out`, the result is written there as JSON.

    Raises:
        ValueError: as `diffusion_of`, an unreadable file, or an output that cannot be written or is an input (found
            first).
    """
    if out is not None:
        files.require_writable(out, paths)
    found = [trajectories.tracks(trajectory_files.read(path, reading.species), ion, path, reading) for path in paths]
    made = of_tracks(found, ion, analysis)
    if out is not None:
        files.write_record(out, made)
    return made


def of_tracks(found: Sequence[IonTracks], ion: str, analysis: Analysis) -> IonDiffusion:
    """The diffusion coefficient from the tracks of ions in several trajectories of one system.

    Raises:
        ValueError: tracks of different systems, or too short for what is skipped.
    """
    first = _require_alike(found)
    start = round(analysis.skip_ps / first.frame_ps)
    kept = [one.positions[start:] for one in found]
    frames = min(map(len, kept))
    if frames < 2:
        raise ValueError(f"skip {analysis.skip_ps:g} ps leaves {max(frames, 0)} frames; leave out less")
    ways = [part[:, k] for part in kept for k in range(part.shape[1])]
    ion_ps = sum(len(way) - 1 for way in ways) * first.frame_ps
    jumps, regression = _both(ways, ion_ps, first, analysis)
    status, value = _sampled(regression, jumps, analysis.jump_angstrom)
    sigma, why = _conductivity(value, found, ion, analysis)
    still = () if all(one.others for one in found) else ("no other atoms: drift is not taken away",)
    return IonDiffusion(
        ion=ion,
        ions=first.positions.shape[1],
        trajectories=len(found),
        frames=frames,
        frame_ps=first.frame_ps,
        ion_ps=ion_ps,
        dimensions=first.dimensions,
        jump_angstrom=analysis.jump_angstrom,
        jumps=jumps.hops,
        status=status,
        diffusion_cm2_per_s=value.scaled(CM2_PER_S),
        from_jumps_cm2_per_s=jumps.mean.scaled(CM2_PER_S),
        temperature_kelvin=analysis.temperature_kelvin,
        conductivity_s_per_cm=sigma,
        times_ps=regression.times_ps,
        msd_angstrom2=regression.msd_angstrom2,
        notes=(*why, *still),
    )


def _both(
    ways: Sequence[Array], ion_ps: float, of: IonTracks, analysis: Analysis
) -> tuple[diffusion.Jumps, diffusion.Regression]:
    """Diffusion from displacements of a length, and by regression."""
    found = [_jumps(way[:, : of.dimensions], analysis.jump_angstrom) for way in ways]
    count, axes = sum(map(len, found)), of.dimensions
    longest = analysis.longest_jump_angstrom
    jumps = diffusion.from_jumps(found, ion_ps, DiffusionSettings(), axes=axes, longest_jump_angstrom=longest)
    residence = ion_ps / count if count else None
    regression = diffusion.from_displacements(
        ways, of.frame_ps, axes=axes, residence_ps=residence, seed=SEED, refused=jumps.refused
    )
    return jumps, regression


def _require_alike(found: Sequence[IonTracks]) -> IonTracks:
    """The first trajectory, where all are of one system.

    Raises:
        ValueError: no trajectory, other counts, dimensions or times between frames, other systems, or one given twice.
    """
    if not found:
        raise ValueError("no trajectory; give at least one")
    first = found[0]
    for number, one in enumerate(found[1:], start=2):
        for what, mine, other in (
            ("ions", first.positions.shape[1], one.positions.shape[1]),
            ("other atoms", first.others, one.others),
            ("dimensions", first.dimensions, one.dimensions),
            ("fs between frames", round(1e3 * first.frame_ps, 6), round(1e3 * one.frame_ps, 6)),
        ):
            if mine != other:
                raise ValueError(
                    f"{one.name or f'trajectory {number}'} has {other:g} {what}, the first {mine:g}; "
                    "analyse them one by one"
                )
    trajectories.require_one_system(found)
    return first


def _jumps(way: Array, length: float) -> Array:
    """Displacements (J, 2 or 3) from each place to the next one that is `length` or farther away."""
    out: list[Array] = []
    here, at = way[0], 0
    while True:
        far = np.linalg.norm(way[at:] - here, axis=1) >= length
        if not far.any():
            return np.array(out).reshape(-1, way.shape[1])
        at += int(far.argmax())
        out.append(way[at] - here)
        here = way[at]


def _sampled(regression: diffusion.Regression, jumps: diffusion.Jumps, jump_angstrom: float) -> tuple[Status, Estimate]:
    """The value of the regression where there are enough jumps, else an upper limit and why."""
    least, limit = DiffusionSettings().min_hops, jumps.mean.high
    if jumps.hops == 0:
        return Status(diffusion.NO_HOP, diffusion.UPPER_LIMIT), Estimate(value=None, low=None, high=limit)
    if jumps.hops < least:
        seen = f"{jumps.hops} displacements of {jump_angstrom:g} Angstrom (at least {least}); run longer or hotter"
        most = poisson_rate(jumps.hops, 1.0).high or 0.0
        bound = most / max(jumps.hops, 1) * (jumps.mean.value or 0.0)
        return Status(NOT_RESOLVED, seen), Estimate(value=None, low=None, high=max(bound, limit or 0.0))
    if regression.mean.value is None:
        return regression.status, Estimate(value=None, low=None, high=limit)
    return regression.status, regression.mean


def _conductivity(
    value: Estimate, found: Sequence[IonTracks], ion: str, analysis: Analysis
) -> tuple[Estimate | None, tuple[str, ...]]:
    """Conductivity in S/cm of ions that move independently, from D in Angstrom^2/ps, and why there is none."""
    temperature_kelvin, charge = analysis.temperature_kelvin, analysis.charge
    if temperature_kelvin is None:
        return None, ()
    volumes = [one.volume_angstrom3 for one in found if one.volume_angstrom3 is not None]
    if len(volumes) < len(found):
        return None, ("no conductivity: a slab has no volume",)
    z = ions.charge(ion) if charge is None else charge
    if z is None:
        return None, (f"no conductivity: the charge of {ion} is not known; give it",)
    volume_m3 = float(np.mean(volumes)) * 1e-30
    density = found[0].positions.shape[1] / volume_m3
    factor = density * (z * constants.e) ** 2 / (constants.k * temperature_kelvin)  # S/m of 1 m^2/s
    where = " in the plane" if found[0].dimensions == 2 else ""
    return value.scaled(factor * CM2_PER_S * 1e-4 / 100), (
        f"the conductivity{where} is that of independent ions (Haven ratio 1)",
    )


def summary(found: IonDiffusion) -> list[str]:
    """The result in lines."""
    seen = f"{found.jumps} displacements of {found.jump_angstrom:g} A in {found.ion_ps:.4g} ps of all ions"
    seen += f", in {found.dimensions} dimensions"
    lines = [f"{found.ion}: D {_interval(found.diffusion_cm2_per_s)} cm2/s, {found.status} ({seen})"]
    if found.from_jumps_cm2_per_s.value is not None and found.diffusion_cm2_per_s.value is not None:
        lines.append(f"D from these displacements: {_interval(found.from_jumps_cm2_per_s)} cm2/s")
    if found.conductivity_s_per_cm is not None:
        lines.append(f"conductivity at {found.temperature_kelvin:g} K: {_interval(found.conductivity_s_per_cm)} S/cm")
    return [*lines, *found.notes]


def _interval(value: Estimate) -> str:
    if value.value is None:
        return "not known" if value.high is None else f"below {value.high:.2e}"
    return f"{value.value:.2e} ({value.low:.2e} to {value.high:.2e})"
