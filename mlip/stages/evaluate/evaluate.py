"""Errors of a potential on labelled frames it never saw.

Takes frames with REF labels, the predictions of one or more potentials on them, and the labelled paths; gives errors
per species, per group, on the ion with its first shell and along paths, the force slope (softening: Deng et al.,
doi:10.1038/s41524-024-01500-6) and the calibration of the committee's spread.

    slope = sum F_ref F / sum F_ref^2        calibration = sqrt(mean (F - F_ref)^2 / mean sigma^2)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlip.atoms.dispersion import absent_labels, target_labels
from mlip.core.arrays import Array
from mlip.core.section import Target
from mlip.core.status import Status
from mlip.potential.potential import LEVELS, Predicted
from mlip.stages.dataset.card import LabelledPath
from mlip.stages.train.given import HELD_OUT

NOT_SEEN = Status(HELD_OUT)  # what a run trains never sees the groups that it holds out


@dataclass(frozen=True, kw_only=True)
class GroupErrors:
    """Errors within one group of frames."""

    group: str
    frames: int
    force_rmse_ev_per_angstrom: float
    energy_rmse_ev_per_atom: float


@dataclass(frozen=True, kw_only=True)
class PathError:
    """Energy of the saddle of a labelled path against its initial image, eV per cell."""

    group: str
    initial: str  # frame_id
    saddle: str
    dft_ev: float
    model_ev: float


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Errors of one potential on a set of frames."""

    model: str  # its name in tables
    frames: int
    force_rmse_ev_per_angstrom: float
    energy_rmse_ev_per_atom: float
    force_slope: float
    species_force_rmse: dict[str, float]
    ion_shell_force_rmse: float | None  # ion and the atoms within the first shell; None where no frame has an ion
    groups: tuple[GroupErrors, ...]
    paths: tuple[PathError, ...]
    calibration: float | None  # None for a single model


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Reference and predicted values of every frame, for plots."""

    energy_ref_ev_per_atom: tuple[float, ...]
    energy_ev_per_atom: tuple[float, ...]
    force_ref: tuple[float, ...]
    force: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Errors of the committee and of the models it is compared with, on identical frames.

    `exposure` says whether these frames were held out when the committee was trained: HELD_OUT, TRAINED_ON or UNKNOWN;
    or NO_LABELS, with no errors at all.
    """

    held_out_groups: tuple[str, ...]
    models: tuple[Errors, ...]
    parity: Parity
    exposure: Status = NOT_SEEN


def path_error_ev(evaluation: Evaluation | None) -> float | None:
    """RMS error of the energy from the initial image to the saddle of each held-out path; None without such a path.

    The term of the uncertainty of a barrier that the committee cannot hide.
    """
    if evaluation is None or not evaluation.models:
        return None
    squares = [(p.model_ev - p.dft_ev) ** 2 for p in evaluation.models[0].paths]
    return float((sum(squares) / len(squares)) ** 0.5) if squares else None


def errors(
    name: str,
    frames: Sequence[Atoms],
    predicted: Sequence[Predicted],
    *,
    paths: Sequence[LabelledPath],
    ions: Sequence[str],
    shell_angstrom: float,
) -> Errors:
    """Errors of one potential.

    Args:
        name: what the potential is called in tables.
        frames: with info REF_energy (eV), frame_id, group and arrays REF_forces (N, 3) (eV/Angstrom).
        predicted: one per frame.
        paths: of the dataset's card; those with both frames here are judged.
        ions: symbols of the diffusing ions.
        shell_angstrom: radius of the first shell around an ion.
    """
    reference = np.concatenate([f.arrays["REF_forces"] for f in frames])
    model = np.concatenate([p.mean_forces for p in predicted])
    symbols = np.concatenate([np.array(f.get_chemical_symbols()) for f in frames])
    shell = np.concatenate([_near_ion(f, ions, shell_angstrom) for f in frames])
    wrong = model - reference
    per_atom = np.array([_energy_error(f, p) for f, p in zip(frames, predicted, strict=True)])
    return Errors(
        model=name,
        frames=len(frames),
        force_rmse_ev_per_angstrom=_rms(wrong),
        energy_rmse_ev_per_atom=_rms(per_atom),
        force_slope=float((reference * model).sum() / (reference**2).sum()),
        species_force_rmse={str(s): _rms(wrong[symbols == s]) for s in sorted(set(symbols.tolist()))},
        ion_shell_force_rmse=_rms(wrong[shell]) if shell.any() else None,
        groups=_by_group(frames, predicted),
        paths=_along_paths(frames, predicted, paths),
        calibration=_calibration(wrong, predicted),
    )


def not_measured(why: Status) -> Evaluation:
    """The evaluation of a run without labels: no error of any kind."""
    nothing = Parity(energy_ref_ev_per_atom=(), energy_ev_per_atom=(), force_ref=(), force=())
    return Evaluation(held_out_groups=(), models=(), parity=nothing, exposure=why)


def not_held_out(found: Errors) -> Errors:
    """The errors without what needs held-out frames: the calibration of the spread and the errors along paths."""
    return replace(found, calibration=None, paths=())


def parity(frames: Sequence[Atoms], predicted: Sequence[Predicted]) -> Parity:
    """Values for parity plots."""
    sizes = [len(f) for f in frames]
    return Parity(
        energy_ref_ev_per_atom=tuple(float(f.info["REF_energy"]) / n for f, n in zip(frames, sizes, strict=True)),
        energy_ev_per_atom=tuple(p.energy_ev / n for p, n in zip(predicted, sizes, strict=True)),
        force_ref=tuple(np.concatenate([f.arrays["REF_forces"].ravel() for f in frames]).round(4).tolist()),
        force=tuple(np.concatenate([p.mean_forces.ravel() for p in predicted]).round(4).tolist()),
    )


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _energy_error(frame: Atoms, found: Predicted) -> float:
    return (found.energy_ev - float(frame.info["REF_energy"])) / len(frame)


def _near_ion(frame: Atoms, ions: Sequence[str], shell_angstrom: float) -> NDArray[np.bool_]:
    chosen = np.array([s in ions for s in frame.get_chemical_symbols()])
    for k in np.flatnonzero(chosen):
        chosen |= frame.get_distances(k, range(len(frame)), mic=True) <= shell_angstrom
    return chosen


def _by_group(frames: Sequence[Atoms], predicted: Sequence[Predicted]) -> tuple[GroupErrors, ...]:
    members: dict[str, list[int]] = {}
    for number, frame in enumerate(frames):
        members.setdefault(frame.info["group"], []).append(number)
    out = []
    for group, numbers in sorted(members.items()):
        wrong = np.concatenate([predicted[k].mean_forces - frames[k].arrays["REF_forces"] for k in numbers])
        energy = np.array([_energy_error(frames[k], predicted[k]) for k in numbers])
        out.append(
            GroupErrors(
                group=group,
                frames=len(numbers),
                force_rmse_ev_per_angstrom=_rms(wrong),
                energy_rmse_ev_per_atom=_rms(energy),
            )
        )
    return tuple(out)


def _along_paths(
    frames: Sequence[Atoms], predicted: Sequence[Predicted], paths: Sequence[LabelledPath]
) -> tuple[PathError, ...]:
    dft = {f.info["frame_id"]: float(f.info["REF_energy"]) for f in frames}
    model = {f.info["frame_id"]: p.energy_ev for f, p in zip(frames, predicted, strict=True)}
    return tuple(
        PathError(
            group=p.group,
            initial=p.initial,
            saddle=p.saddle,
            dft_ev=dft[p.saddle] - dft[p.initial],
            model_ev=model[p.saddle] - model[p.initial],
        )
        for p in paths
        if {p.initial, p.saddle} <= dft.keys()
    )


def _calibration(wrong: Array, predicted: Sequence[Predicted]) -> float | None:
    spreads = [p.forces_std for p in predicted]
    if any(s is None for s in spreads):
        return None
    return _rms(wrong) / max(_rms(np.concatenate([s for s in spreads if s is not None])), 1e-12)


def pooled(parts: Sequence[tuple[Sequence[Atoms], Sequence[Predicted]]]) -> tuple[list[Atoms], list[Predicted]]:
    """Frames and predictions of leave-groups-out folds as one set, each frame predicted by models that never saw it.

    Raises:
        ValueError: a frame in two folds.
    """
    frames = [f for part, _ in parts for f in part]
    names = [f.info["frame_id"] for f in frames]
    if len(set(names)) < len(names):
        raise ValueError("folds: a frame is in two of them; each group must be held out once")
    return frames, [p for _, found in parts for p in found]


def table(results: Mapping[str, Errors]) -> str:
    """A plain text table of several models."""
    lines = [f"{'model':24s} {'F rmse':>8s} {'slope':>6s} {'ion shell':>9s} {'E rmse':>9s}   meV/A, -, meV/A, meV/atom"]
    for name, e in results.items():
        shell = "-" if e.ion_shell_force_rmse is None else f"{1e3 * e.ion_shell_force_rmse:.0f}"
        lines.append(
            f"{name:24s} {1e3 * e.force_rmse_ev_per_angstrom:8.1f} {e.force_slope:6.3f} {shell:>9s} "
            f"{1e3 * e.energy_rmse_ev_per_atom:9.2f}"
        )
    return "\n".join(lines)


def against_labels(frames: Sequence[Atoms]) -> str | None:
    """Errors of predictions on those of the frames that have labels, in a line; None where no frame can be compared.

    Args:
        frames: of `potential.predict`; the labels are those of this project's keys, at the level of the predictions.
    """
    targets = {level: cast("Target", target) for target, level in LEVELS.items()}
    wrong, energies, reference = [], [], []
    for frame in frames:
        target = targets.get(frame.info["mlip_level"])
        if target is None or absent_labels(frame, target):
            continue
        energy_ev, forces = target_labels(frame, target)
        energies.append((float(frame.info["mlip_energy"]) - energy_ev) / len(frame))
        wrong.append(frame.arrays["mlip_forces"] - forces)
        reference.append(forces)
    if not wrong:
        return None
    force, size, energy = _rms(np.concatenate(wrong)), _rms(np.concatenate(reference)), _rms(np.array(energies))
    return (
        f"against the labels of {len(wrong)} of {len(frames)} frames: forces {1e3 * force:.0f} meV/A rms of "
        f"{1e3 * size:.0f}, energies {1e3 * energy:.1f} meV/atom rms; no measure of accuracy on frames that the model "
        "was trained on"
    )
