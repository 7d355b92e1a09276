"""Make datasets/models/base: MACE potentials trained on teacher labels of a universal potential. No DFT label enters but
through the energy shift, a constant per element that puts the teacher's energies onto the DFT reference.

    python scripts/train_base.py WORK --teacher teacher_1.extxyz teacher_2.extxyz --anchor teacher_on_dft.extxyz --member 1
    python scripts/train_base.py WORK --teacher ... --anchor ... --release datasets/models/base --members 2

The first form trains one member and continues after an interruption (WORK/pass-1/member-1/history.jsonl says how far it
is); the second collects the members into a model folder and trains those that are not finished. Both are run once for
every pass of PASSES: `--stage 2 --base FOLDER` goes on from the result of pass 1, and so on (forces shape the potential
first; energies along a path decide a barrier). Teacher files come from scripts/make_teacher_set.py; the anchor file is
its --relabel output on the DFT frames. A finished member stays: other teacher files need another WORK. The teacher files
are not in the repository. The seventh and eighth pass have frames of their own only: those of --large and as many of
small cells, then also those of --large --only 001.
"""

import argparse
from pathlib import Path

import numpy as np
from ase.io import read

from mlip.core import files
from mlip.potential import models
from mlip.potential.architecture import Architecture
from mlip.stages import jobs
from mlip.stages.dataset import dataset
from mlip.stages.dataset.settings import DatasetSettings
from mlip.stages.evaluate import evaluate
from mlip.stages.evaluate.settings import EvaluateSettings
from mlip.stages.train.settings import TrainSettings

DATA = Path("datasets/tio2-mg-li")
VALID_FRACTION = 0.06
JUDGED = {
    "ions": ("Li", "Mg"),
    "shell_angstrom": EvaluateSettings().first_shell_angstrom,
}  # how evaluate.errors is called
TEACHERS = {  # as frames name them: name and source; both are trained on PBE data
    "7net-l3i5": "SevenNet-l3i5 (sevenn 0.13.0), doi:10.1021/acs.jctc.4c00190",
    "mattersim-v1.0.0-5M": "MatterSim-v1.0.0-5M (mattersim 1.2.3), doi:10.48550/arXiv.2405.04967",
}
# The fourth had more frames than those before, the fifth more again and a better teacher, the sixth ions off the surface, the
# seventh the cells of barriers, the eighth more of (001).
# In the first four the frames of a family kept their group, and so the second member had a weight drawn for each.
PASSES = (
    {"teacher": "7net-l3i5", "epochs": 26, "learning_rate": 5e-3, "ema_decay": 0.995, "energy_weight": 20.0},
    {"teacher": "7net-l3i5", "epochs": 4, "learning_rate": 1e-3, "ema_decay": 0.99, "energy_weight": 2000.0},
    {"teacher": "7net-l3i5", "epochs": 24, "learning_rate": 3e-3, "ema_decay": 0.995, "energy_weight": 300.0},
    {"teacher": "7net-l3i5", "epochs": 24, "learning_rate": 3e-3, "ema_decay": 0.995, "energy_weight": 300.0},
    {"teacher": "mattersim-v1.0.0-5M", "epochs": 20, "learning_rate": 3e-3, "ema_decay": 0.995, "energy_weight": 300.0},
    {"teacher": "mattersim-v1.0.0-5M", "epochs": 8, "learning_rate": 2e-3, "ema_decay": 0.995, "energy_weight": 300.0},
    {"teacher": "mattersim-v1.0.0-5M", "epochs": 8, "learning_rate": 2e-3, "ema_decay": 0.995, "energy_weight": 300.0},
    {"teacher": "mattersim-v1.0.0-5M", "epochs": 5, "learning_rate": 1e-3, "ema_decay": 0.995, "energy_weight": 300.0},
)


def shifted(teacher, anchor, dft):
    """Teacher frames with REF labels, and the shift per element (eV) fitted on the frames that both have labelled."""
    by_id = {f.info["frame_id"]: f for f in dft}
    symbols = ["Li", "O", "Mg", "Ti"]
    both = [(f, by_id[f.info["frame_id"]]) for f in anchor]
    counts = np.array([[f.get_chemical_symbols().count(s) for s in symbols] for f, _ in both], float)
    gap = np.array([d.info["dft_energy"] - f.info["teacher_energy"] for f, d in both])
    ridge = 1e-6 * np.eye(4)  # Ti and O come in one ratio only: the smallest shift that fits
    shift = np.linalg.solve(counts.T @ counts + ridge, counts.T @ gap)
    residual = gap - counts @ shift
    for frame in teacher:
        n = np.array([frame.get_chemical_symbols().count(s) for s in symbols])
        frame.info["REF_energy"] = frame.info["teacher_energy"] + float(n @ shift)
        frame.arrays["REF_forces"] = frame.arrays["teacher_forces"]
    return dict(zip(symbols, shift.round(6).tolist(), strict=True)), residual


def divided(frames, before, seed):
    """Frames to fit and held out, by groups: a part of those that every pass before added, the same as then, and of the rest."""
    held, seen = set(), set()
    for added in (*before, frames):
        part = {f.info["group"] for f in added} - seen
        seen |= part
        if part:
            rng = np.random.default_rng(seed)
            held |= set(rng.choice(sorted(part), size=max(1, int(VALID_FRACTION * len(part))), replace=False).tolist())
    return [f for f in frames if f.info["group"] not in held], [f for f in frames if f.info["group"] in held]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--teacher", type=Path, nargs="+", required=True)
    parser.add_argument("--anchor", type=Path, required=True)
    parser.add_argument("--member", type=int, default=1)
    parser.add_argument("--members", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--stage", type=int, default=1, choices=range(1, len(PASSES) + 1), metavar="PASS")
    parser.add_argument("--base", help="model folder of the pass before")
    parser.add_argument(
        "--before",
        type=Path,
        nargs="+",
        action="append",
        default=[],
        metavar="FILE",
        help="teacher files of a pass that had fewer frames; once for every such pass, the first first",
    )
    parser.add_argument("--release", type=Path)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    teacher = [f for path in options.teacher for f in read(path, ":")]
    _, dft = dataset.read_dataset(DATA, DatasetSettings(), target="pbe")
    anchor = read(options.anchor, ":")
    shift, residual = shifted(teacher, anchor, dft)
    fit, held = divided(teacher, [[f for path in one for f in read(path, ":")] for one in options.before], seed=1)
    if (options.stage > 1) != bool(options.base):
        parser.error("--base is the result of the pass before: needed from pass 2 on, and only there")
    one = dict(PASSES[options.stage - 1])
    name = one.pop("teacher")
    others = {str(f.info["teacher"]) for f in [*teacher, *anchor]} - {name}
    if others:
        parser.error(
            f"pass {options.stage} has the teacher {name}, but there are frames of {', '.join(sorted(others))}"
        )
    for frame in fit:
        frame.info["group"] = name  # one weight for all: the members of a base differ by their initial weights
    settings = TrainSettings(
        base=options.base,
        architecture=Architecture(channels=64, max_l=0, layers=2, correlation=3, max_ell=2, cutoff_angstrom=5.0),
        batch_frames=4,
        force_weight=100.0,
        huber_ev_per_angstrom=0.5,
        patience=one["epochs"],
        **one,
    )
    rms = float(np.sqrt((residual**2).mean()))
    print(len(fit), "frames to fit", len(held), "held", shift, "shift residual rms eV", rms)
    work = options.work / f"pass-{options.stage}"
    files.write_frames(work / "train.extxyz", fit)
    files.write_frames(work / "valid.extxyz", held)
    e0 = dataset.reference_energies(dft, "pbe")
    members = range(1, options.members + 1) if options.release else [options.member]
    todo = [jobs.TrainJob(work / f"member-{k}", work, settings, e0, 1, k, options.device) for k in members]
    for job in todo:
        jobs.train_member(job)
    if options.release:
        release(todo, teacher, held, shift, rms, options)


def release(done, teacher, held, shift, residual_rms, options):
    name, settings = teacher[0].info["teacher"], done[0].settings
    found = [judged(job, held) for job in done]
    members = [models.load(job.folder / "model") for job in done]
    base = models.load(options.base).card if options.base else None
    before = [*base["frames_of_the_passes_before"], base["frames"]] if base else []
    card = {
        "name": "base",
        "target": "pbe",
        "level": f"teacher labels of {name} (trained on PBE data), energies shifted per element onto the DFT reference",
        "use": "starting point of training only; not for results: its labels are not DFT",
        "teacher": f"{TEACHERS[name]}; geometries by Langevin runs with SevenNet-0 and with earlier base models",
        "licence": "MIT",
        "members": len(members),
        "elements": list(settings.architecture.elements),
        "cutoff_angstrom": settings.architecture.cutoff_angstrom,
        "frames": len(teacher),
        "frames_of_the_passes_before": before,
        "teacher_files_sha256": [files.sha256(p) for p in options.teacher],
        "shift_ev": shift,
        "shift_residual_rms_ev": round(residual_rms, 4),
        "held_out_teacher_groups": len({f.info["group"] for f in held}),
        "error_against_teacher_on_held_out_groups": {
            "force_rmse_ev_per_angstrom": [round(e.force_rmse_ev_per_angstrom, 4) for e in found],
            "energy_rmse_ev_per_atom": [round(e.energy_rmse_ev_per_atom, 5) for e in found],
        },
        "passes": [dict(one) for one in PASSES[: options.stage]],
        "settings": settings.model_dump(mode="json", exclude={"base", "trust_pickle"}),
        "versions": files.versions(),
        "made_by": "scripts/make_teacher_set.py, then scripts/train_base.py",
    }
    weights = [to_float32(m.members[0].state_dict()) for m in members]
    models.save(options.release, shape=members[0].shape, weights=weights, card=card)


def judged(job, held):
    """Errors of a finished member against the teacher."""
    found = jobs.predictions(job.folder / "model", held, device=job.device)
    return evaluate.errors(f"member {job.member}", held, found, paths=(), **JUDGED)


def to_float32(state):
    """The weights as they were trained, in half the space."""
    import torch

    return {k: v.to(torch.float32) if v.is_floating_point() else v for k, v in state.items()}


if __name__ == "__main__":
    main()
