"""Make datasets/tio2-mg-li from GPAW single points: folders with one extended XYZ file a frame, and files of many.

    python scripts/make_dataset.py SOURCE... [--out datasets/tio2-mg-li]

A frame has info frame_id, system, ion, group, sampling, vacuum, kpts, energy_free, energy_extrapolated, net_force, level and
arrays dft_forces (Angstrom, eV, eV/Angstrom); or it was labelled by `mlip label`, as those of RUN/label/frames.extxyz and of the
dataset itself: datasets/tio2-mg-li/frames.extxyz with the file of a run adds that run's labels. Keys are normalised, the
mean force is subtracted, D3(BJ) is added beside the DFT labels, all is checked as before training, and the card is written.
Twice gives identical bytes.
"""

import argparse
from pathlib import Path

from mlip.atoms import extxyz
from mlip.dft.engines import gpaw
from mlip.stages.dataset import card
from mlip.tools import merge_datasets

LEVEL = "PBE/PAW GPAW 26.7.0 520eV FD0.05 spin-paired"  # as the source files say it
SETTINGS = gpaw.described(gpaw.PRESETS["gpaw-pbe-520"])
HOSTS = {"bulk": "bulk", "bulk1": "bulk", "001": "001", "100": "100", "101": "101"}  # first word of frame_id -> host
SYSTEMS = {
    "111": "001_11",
    "112": "001_12",
    "121": "001_21",
    "10011": "100_11",
    "10111": "101_11",
    "1": "001",
}  # a reader took names for numbers
LADDER = "ladder_"  # frame_id of single points on bands of our own potential: ladder_<hop>_<ion>_<place>
SAME_PATH = {  # such bands on a path that is there already join its group, so that no split can part them
    "ladder_bulk_oct_Li": "bulk_Li_neb",
    "ladder_bulk_oct_Mg": "bulk_Mg_neb",
    "ladder_001_in_Li": "001_perp_Li_neb",
    "ladder_100_010zz_Mg": "100_zz_Mg_neb",
}
OURS = "saddle and end of the CI-NEB band of this potential's first release, trained on 54 labels; not relaxed with DFT"
GEOMETRY = "CI-NEB image of SevenNet-0 (11July2024), not relaxed with DFT"
PATHS = (
    card.LabelledPath(
        group="bulk_Li_neb", host="bulk", ion="Li", hop="bulk_oct", initial="bulk_Li_neb0", saddle="bulk_Li_neb3", geometry=GEOMETRY,
        note="octahedral void to octahedral void; residual DFT force 0.20 eV/A at the saddle",
    ),
    card.LabelledPath(
        group="bulk_Mg_neb", host="bulk", ion="Mg", hop="bulk_oct", initial="bulk_Mg_neb1", saddle="bulk_Mg_neb3", geometry=GEOMETRY,
        note="from the lowest image (5-fold Mg): the ends of the symmetric path are not minima",
    ),
    card.LabelledPath(
        group="100_zz_Mg_neb", host="100", ion="Mg", hop="100_010zz", initial="100_zz_Mg_neb0", saddle="100_zz_Mg_neb3", geometry=GEOMETRY,
        note="one step of the zigzag along [010]",
    ),
    card.LabelledPath(
        group="001_perp_Li_neb", host="001", ion="Li", hop="001_in+001_in", initial="001_perp_Li_neb0", saddle="001_perp_Li_neb4", geometry=GEOMETRY,
        note="surface hollow to the next one in two steps through the subsurface void; image 3 is near the void; "
        "image 4 is the highest of the labelled ones",
    ),
)  # fmt: skip
LIMITS = (
    "few frames: 12 to 49 atoms, one ion a cell, anatase bulk, ideal (001) and (100) slabs of four metal layers and a few (101) slabs of two only",
    "geometries come from SevenNet-0 and from this project's own potential and are not relaxed with DFT: residual forces up to 1 eV/Angstrom at their minima",
    "spin-paired PBE without Hubbard U: the electron of Li or Mg is spread over all Ti, no polarons, no Ti3+ moments",
    "what settings change in E(001_11_Li_hop1) - E(001_11_Li_site) = 1.286 eV (001 1x1 cell, 13 atoms): spin +11, dipole correction -19, 600 eV +21, 6x6x1 k-points +36 meV",
    "and in the force components of these frames, rms: spin 34, dipole correction 18 (with 001_11_clean_relaxed), 600 eV 24, 6x6x1 k-points 45 meV/Angstrom",
    "and in the energy of Li on the clean slab there, 001_11_Li_site - 001_11_clean_relaxed: spin -20 meV (clean slab taken as unpolarised), dipole correction +19 meV",
    "an ion high above a slab has a dipole that the periodic cell feels: with dipole correction 100_21_Li_over_0 of the test set (Li 1 Angstrom above a hollow of (100), 49 atoms) is 50 meV higher and its forces change by 30 meV/Angstrom rms, 86 on Li; 100_21_Li_in_saddle (Li below the surface) is 1 meV higher, 3 meV/Angstrom",
    "the sum of the forces is not zero (egg-box effect; up to 0.02 eV/Angstrom per atom along the normal of the 49-atom (001) slabs): the mean force is subtracted from dft_forces, net_force keeps the largest component of the sum before that",
    "the same effect in one frame, 001_11_Mg_md800_0: all atoms moved by half a grid spacing along the normal change the forces on O along it by 96 meV/Angstrom rms, the energy by 2 to 4 meV; a noise of the labels of about 20 meV/Angstrom rms",
    "energies are relative to GPAW's atoms (spin-paired, spherical): no cohesive or adsorption energies without references at the same settings",
    "e0_ev is a fit to the compositions here, not isolated atoms; Ti against O is open at fixed stoichiometry and set to nearly equal energy per atom",
    "the k-point rule gives different meshes in different cells; energies of different cells differ by the k-point error",
    "D3 uses coefficients of neutral atoms: doubtful for Li and Mg cations; compare with and without",
)  # fmt: skip


SAMPLED = (
    "relaxed sites, subsurface voids and points between them, CI-NEB images and Langevin runs (700 to 900 K) with the universal "
    "potential SevenNet-0; saddles and ends of CI-NEB bands (ladder_...) and Langevin runs (300 to 900 K, some with the ion held on its way) with this "
    "project's own potential or its base model, in part chosen for the spread of the committee, as `sampling` of a frame says; all labelled by DFT single points; "
    "bulk ideal, at other volumes, and strained by up to 3 % and rattled. A group is one path, one trajectory or one family of configurations and is never split. Positions and forces have 8 decimals, as the source files."
)


KEPT = (
    "frame_id", "system", "host", "ion", "group", "sampling", "vacuum", "kpts", "dft_energy_extrapolated", "settings_hash",
    "dft_energy", "d3_energy", "net_force",
)  # fmt: skip
DIPOLE = "dipole_normal_e_angstrom"  # `mlip label` gives it to slabs, the source files had none


def normalised(source, path, settings_hash):
    """The frame with this project's keys, mean force zero, D3 beside it."""
    info = source.info
    if "dft_energy" in info:
        if info["settings_hash"] != settings_hash:
            raise ValueError(f"{path}: settings {info['settings_hash']}, the card says {settings_hash}")
        kept = (*KEPT, DIPOLE) if DIPOLE in info else KEPT
        source.info = {key: info[key] for key in kept} | {"group": SAME_PATH.get(info["group"], info["group"])}
        return source
    if info["level"] != LEVEL:
        raise ValueError(f"{path}: level {info['level']!r}, the card says {LEVEL!r}; one dataset holds one level")
    if "gpaw" in info:
        raise ValueError(f"{path}: has settings of its own ({info['gpaw']}); leave it out")
    identity = {
        "frame_id": info["frame_id"],
        "system": SYSTEMS.get(info["system"], info["system"]),
        "host": HOSTS[info["frame_id"].removeprefix(LADDER).split("_")[0]],
        "ion": info["ion"],
        "group": SAME_PATH.get(info["group"], info["group"]),
        "sampling": info["sampling"],
        "vacuum": bool(info["vacuum"]),
        "kpts": " ".join(str(int(n)) for n in info["kpts"]),
        "dft_energy_extrapolated": float(info["energy_extrapolated"]),
        "settings_hash": settings_hash,
    }
    return extxyz.with_labels(source, energy_ev=info["energy_free"], forces=source.arrays["dft_forces"], info=identity)


def paths(frames):
    """Labelled paths: first those of our own bands, whose end and saddle are there, then the ones named above."""
    there = {f.info["frame_id"] for f in frames}
    names = sorted(i.removesuffix("_saddle") for i in there if i.startswith(LADDER) and i.endswith("_saddle"))
    own = []
    for name in names:
        if f"{name}_initial" in there:
            hop, ion = name.removeprefix(LADDER).rsplit("_", 1)
            host, group = hop.split("_")[0], SAME_PATH.get(name, name)
            own.append(
                card.LabelledPath(
                    group=group,
                    host=host,
                    ion=ion,
                    hop=hop,
                    initial=f"{name}_initial",
                    saddle=f"{name}_saddle",
                    geometry=OURS,
                )
            )
    return (*own, *PATHS)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("datasets/tio2-mg-li"))
    options = parser.parse_args()
    settings_hash = extxyz.settings_hash(SETTINGS)
    paths_of = [p for s in options.sources for p in (sorted(s.glob("*.xyz")) if s.is_dir() else [s])]
    labelled = [normalised(f, path, settings_hash) for path in paths_of for f in extxyz.read_frames(path)]
    found = {str(f.info["frame_id"]): f for f in labelled}  # a later source replaces a frame of an earlier one
    frames = [found[name] for name in sorted(found)]
    if not frames:
        raise SystemExit(f"{', '.join(map(str, options.sources))}: no frames")
    made = merge_datasets.write(
        options.out,
        frames,
        level="PBE, GPAW 26.7.0 PAW, plane waves 520 eV, spin-paired; D3(BJ) stored beside it",
        settings=SETTINGS,
        licence="MIT",
        sampled=SAMPLED,
        limits=LIMITS,
        paths=paths(frames),
    )
    energies = {f.info["frame_id"]: f.info["dft_energy"] for f in frames}
    for path in made.paths:
        print(f"{path.hop:14s} {path.ion}: {energies[path.saddle] - energies[path.initial]:.4f} eV")
    print(f"{options.out}: {len(frames)} frames, {sum(len(f) for f in frames)} atoms, settings {settings_hash}")


if __name__ == "__main__":
    main()
