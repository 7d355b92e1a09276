"""The deck for LAMMPS, the exported model loaded back, and dumps read as tracks; with `lmp` on the PATH a real run of it."""

import os
import shutil
import subprocess

import numpy as np
import pytest
from helpers.lammps_dumps import dumped
from numpy.testing import assert_allclose

from mlip import cli
from mlip.atoms import extxyz, structures
from mlip.atoms.structures import Facet
from mlip.core import files
from mlip.potential import models
from mlip.potential.graphs import graph
from mlip.potential.potential import load
from mlip.stages.md import lammps, lammps_deck, placement
from mlip.stages.md.settings import MdSettings
from mlip.tools import export

SETTINGS = MdSettings(target_ps=2.0, equilibrate_ps=1.0, frame_steps=10, time_step_fs=2.0)


LMP = shutil.which("lmp") or ""
STARTS = bool(LMP) and subprocess.run([LMP, "-h"], capture_output=True, check=False).returncode == 0
FACET = Facet(name="001", miller=(0, 0, 1), layers=3, repeat=(1, 1))


@pytest.fixture
def start(tmp_path):
    slab = structures.slab(structures.crystal("anatase"), FACET, bond_angstrom=2.35)
    moves = placement.mobile(slab, 1)
    slab.append("Li")
    slab.positions[-1] = [1.9, 1.9, slab.positions[:, 2].max() + 1.5]
    slab.info = {"host": "001", "ions": "Li", "repeat": [1, 1, 1]}
    slab.arrays["mobile"] = np.append(moves, True)
    files.write_frames(tmp_path / "001_Li.extxyz", [slab])
    return tmp_path / "001_Li.extxyz"


class Domain:
    """The data that LAMMPS hands to a unified ML-IAP model on one rank: every periodic neighbour is a ghost atom."""

    def __init__(self, atoms, elements, cutoff):
        found = graph(atoms, elements, cutoff)
        sender, receiver = found.edge_index  # a vector goes from sender to receiver
        self.nlocal, count = len(atoms), found.edge_index.shape[1]
        self.owner = np.concatenate([np.arange(self.nlocal), receiver])
        self.ntotal, self.npairs = self.nlocal + count, count
        self.elems = found.species[self.owner]
        self.pair_i, self.pair_j = sender, self.nlocal + np.arange(count)
        moved = atoms.positions[receiver] + found.shifts
        self.rij = moved - atoms.positions[sender]
        self.eatoms = np.zeros(self.nlocal)
        self.forces = np.zeros((self.nlocal, 3))

    def forward_exchange(self, source, target, _):
        target[:] = source[self.owner]

    def reverse_exchange(self, source, target, _):
        target.zero_()
        import torch

        target.index_add_(0, torch.as_tensor(self.owner), source)

    def update_pair_forces_gpu(self, pairs):
        pairs = pairs.detach().numpy()
        np.add.at(self.forces, self.owner[self.pair_i], pairs)
        np.subtract.at(self.forces, self.owner[self.pair_j], pairs)


def test_the_exported_model_gives_the_energy_and_forces_of_the_member(committee, start, tmp_path):
    import torch

    path = tmp_path / "m.pt"
    lammps.export_model(models.load(committee), path, member=2)
    with models.quiet():
        back = torch.load(path, weights_only=False)
    atoms = extxyz.read_frames(start)[0]
    atoms.rattle(0.05, seed=3)
    domain = Domain(atoms, back.element_types, 2 * back.rcutfac)
    back.compute_forces(domain)
    atoms.calc = load(committee, members=[2])
    assert_allclose(domain.energy, atoms.get_potential_energy(), rtol=1e-9)
    assert_allclose(domain.eatoms.sum(), domain.energy, rtol=1e-12)
    assert_allclose(domain.forces, atoms.get_forces(), rtol=0, atol=1e-8)
    assert tuple(back.element_types) == models.load(committee).elements


def test_the_deck_is_whole(committee, start, tmp_path):
    out = tmp_path / "deck"
    source = tmp_path / "c.yaml"
    source.write_text("md: {target_ps: 2, equilibrate_ps: 1, frame_steps: 10, time_step_fs: 2}\n")
    words = ["export", committee, "--to", "lammps", "-o", out, "--start", start, "--config", source]
    assert cli.main([str(w) for w in words]) == 0
    assert sorted(p.name for p in out.iterdir()) == [
        "deck.json",
        "in.md",
        "in.more",
        "model-mliap_lammps.pt",
        "start.data",
        "submit.sh",
    ]
    text = (out / "in.md").read_text()
    atoms = extxyz.read_frames(start)[0]
    assert "pair_style mliap unified model-mliap_lammps.pt 0\npair_coeff * * Ti O Li\n" in text
    assert "timestep 0.002\n" in text
    assert f"group ions id {len(atoms)}:{len(atoms)}\n" in text
    assert "group frozen id " in text
    assert text.count("\nrun ") == 2
    assert "\nrun 500\nreset_timestep 0\n" in text
    assert text.endswith("run 1000 upto\n")
    more = (out / "in.more").read_text()
    assert "read_data" not in more
    assert "velocity" not in more.replace("velocities", "")
    assert more.endswith("run 1000 upto\n")
    deck = files.read_record(out / "deck.json", lammps.Deck)
    assert deck.frozen == tuple(np.flatnonzero(~atoms.arrays["mobile"].astype(bool)))
    assert len(deck.frozen) == 3
    script = (out / "submit.sh").read_text()
    assert "--gpus-per-node=4" in script
    assert "-in in.md" in script


def test_the_data_file_has_every_atom_where_it_is(start):
    from ase.io import read

    atoms = extxyz.read_frames(start)[0]
    atoms.positions[0] -= atoms.cell.array[0]  # outside the cell: kept by its image
    elements = tuple(dict.fromkeys(atoms.get_chemical_symbols()))
    path = start.with_name("start.data")
    path.write_text(lammps._data(atoms, elements))
    back = read(path, format="lammps-data", units="metal", atom_style="atomic")
    assert list(back.symbols) == list(atoms.symbols)
    assert_allclose(back.cell.array, atoms.cell.array, rtol=0, atol=1e-9)
    scaled = (back.positions - atoms.positions) @ np.linalg.inv(atoms.cell.array)
    assert_allclose(scaled, np.round(scaled), rtol=0, atol=1e-9)


def test_ids_are_shortened():
    assert lammps._ranges([0, 1, 2, 5, 7, 8]) == "1:3 6 8:9"


def test_starts_that_do_not_fit_are_refused(committee, start, tmp_path):
    model = models.load(committee)
    plain = extxyz.read_frames(start)[0]
    plain.info = {}
    with pytest.raises(ValueError, match="the start lacks host, ions, repeat; give a start that the md stage wrote"):
        lammps.export(model, tmp_path / "x", plain, SETTINGS)
    other = extxyz.read_frames(start)[0]
    other.symbols[-1] = "K"
    with pytest.raises(ValueError, match=r"elements \['K'\] are not in the model"):
        lammps.export(model, tmp_path / "x", other, SETTINGS)
    flat = extxyz.read_frames(start)[0]
    flat.set_cell(flat.cell.array[[0, 0, 2]])
    with pytest.raises(ValueError, match="the cell has no volume"):
        lammps._data(flat, ("Ti", "O", "Li"))
    turned = extxyz.read_frames(start)[0]
    turned.set_cell(turned.cell.array[[2, 0, 1]])
    with pytest.raises(
        ValueError, match="the start has vacuum along its first cell vector; a slab needs it along the third"
    ):
        lammps.export(model, tmp_path / "x", turned, SETTINGS)
    with pytest.raises(ValueError, match=r"member 9: .* has members 1 to 2"):
        lammps.export_model(model, tmp_path / "m.pt", member=9)
    with pytest.raises(ValueError, match="LAMMPS needs a start; give one of the md stage"):
        export.to_lammps(committee, tmp_path / "x", start=None, source=None, member=1)


def test_a_dump_comes_back_as_tracks_without_the_drift(committee, start, tmp_path):
    deck = lammps.export(models.load(committee), tmp_path, extxyz.read_frames(start)[0], SETTINGS)
    dumped(tmp_path, deck)
    header, (track,) = lammps.read(tmp_path)
    assert header == deck.header
    assert (track.replica, track.temperature_kelvin, track.symbols, track.frame_ps) == ("T900-1", 900.0, ("Li",), 0.02)
    assert_allclose(track.positions[:, 0, 0], 1.9, rtol=0, atol=2e-6)
    assert_allclose(track.positions[:, 0, 1], 1.9 + 0.1 * np.arange(30), rtol=0, atol=2e-6)


def test_dumps_that_do_not_fit_are_one_line(committee, start, tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        lammps.read(tmp_path / "nowhere")
    deck = lammps.export(models.load(committee), tmp_path, extxyz.read_frames(start)[0], SETTINGS)
    with pytest.raises(ValueError, match=r"holds no runs/\*/ions.dump; run LAMMPS there with submit.sh"):
        lammps.read(tmp_path)
    run = dumped(tmp_path, deck)
    whole = (run / "ions.dump").read_text()
    for cut in (-12, -40, -120, 15):
        (run / "ions.dump").write_text(whole[:cut])
        with pytest.raises(ValueError, match=r"ions.dump: .*(is cut short|cut short or of another deck)"):
            lammps.read(tmp_path)
    (run / "ions.dump").write_text(whole.replace("ITEM: TIMESTEP\n20\n", "ITEM: TIMESTEP\n25\n"))
    with pytest.raises(ValueError, match="frames are not 10 steps apart"):
        lammps.read(tmp_path)
    (run / "ions.dump").write_text(whole)
    (run / "drift.txt").write_text("".join((run / "drift.txt").read_text().splitlines(keepends=True)[:-3]))
    with pytest.raises(ValueError, match="has no line for step 270; it is cut short"):
        lammps.read(tmp_path)


def bulk_start(folder):
    """Two ions in bulk, where everything moves."""
    atoms = structures.bulk(structures.crystal("anatase"), (2, 2, 1))
    for symbol, part in (("Li", 0.5), ("Mg", 0.0)):
        atoms.append(symbol)
        atoms.positions[-1] = [1.9, part * 7.6, part * 9.7]
    atoms.info = {"host": "bulk", "ions": "Li-Mg", "repeat": [1, 1, 1]}
    atoms.arrays["mobile"] = np.ones(len(atoms), bool)
    files.write_frames(folder / "bulk.extxyz", [atoms])
    return folder / "bulk.extxyz"


def lines_run(folder, name, *, seed, **variables):
    """An input run by LAMMPS without forces, every other line as it is, with a dump of all atoms in the cell beside it."""
    lines = (folder / name).read_text().splitlines()
    for k, line in enumerate(lines):
        if line.startswith("pair_"):
            lines[k] = "pair_style zero 5.0" if line.startswith("pair_style") else "pair_coeff * *"
        if line.startswith("dump_modify"):
            lines[k] += f"\ndump every all custom 10 every.{name}.dump id x y z ix iy iz"
            lines[k] += "\ndump_modify every format float %.8f"
    (folder / "in.test").write_text("\n".join(lines))
    run = folder / "runs" / f"T900-{seed}"
    run.mkdir(parents=True, exist_ok=True)
    given = {"T": 900, "seed": seed, "out": f"runs/{run.name}"} | variables
    words = ["-in", "in.test", *(str(w) for name, value in given.items() for w in ("-var", name, value))]
    done = subprocess.run([LMP, *words, "-log", "log"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return run, done.stdout


def everything(path, count):
    """Positions in the cell and images of all atoms by id: (F, N, 3) each."""
    blocks = path.read_text().split("ITEM: TIMESTEP\n")[1:]
    rows = np.array([[line.split() for line in b.splitlines()[-count:]] for b in blocks], dtype=float)
    rows = np.take_along_axis(rows, rows[:, :, :1].argsort(axis=1), axis=1)
    return rows[:, :, 1:4], rows[:, :, 4:]


@pytest.mark.skipif(not STARTS, reason="lmp (LAMMPS) is not on the PATH, or does not start")
@pytest.mark.parametrize("host", ["001", "bulk"])
def test_lammps_runs_the_deck_and_its_dump_comes_back(committee, start, tmp_path, host):
    source = start if host == "001" else bulk_start(tmp_path)
    atoms = extxyz.read_frames(source)[0]
    folder = tmp_path / "deck"
    deck = lammps.export(models.load(committee), folder, atoms, SETTINGS)
    run, screen = lines_run(folder, "in.md", seed=3)
    assert "WARNING" not in screen
    heat = [line.split() for line in screen.splitlines()]
    assert ["0", "0", "1800", "0"] in heat  # twice the temperature over three degrees of freedom of each mobile atom
    header, (track,) = lammps.read(folder)
    places, images = everything(folder / "every.in.md.dump", len(atoms))
    unwrapped = places + images @ atoms.cell.array
    first = len(atoms) - len(deck.header.ions)
    drift = (unwrapped - atoms.positions)[:, :first].mean(axis=1)
    assert (track.replica, track.temperature_kelvin) == (run.name, 900.0)
    assert track.positions.shape == (101, len(header.ions), 3)
    assert_allclose(track.positions, unwrapped[:, first:] - drift[:, None], rtol=0, atol=3e-6)
    assert np.ptp(images[:, first:], axis=0).max() > 0  # an ion has left the cell on the way
    frozen = list(deck.frozen)
    assert_allclose(unwrapped[:, frozen] - atoms.positions[frozen], 0.0, rtol=0, atol=1e-7)
    assert np.abs(drift).max() > 0.1


def sheared(source):
    """The start in left-handed, turned and very tilted vectors of the same lattice."""
    atoms = extxyz.read_frames(source)[0]
    a, b, c = atoms.cell.array
    atoms.set_cell([a, 3 * a - b, c + a], scale_atoms=False)
    atoms.rotate(40.0, "z", rotate_cell=True)
    files.write_frames(source, [atoms])
    return extxyz.read_frames(source)[0]


@pytest.mark.skipif(not STARTS, reason="lmp (LAMMPS) is not on the PATH, or does not start")
def test_lammps_runs_a_left_handed_tilted_start_without_a_warning_and_it_comes_back_turned(committee, start, tmp_path):
    atoms, folder = sheared(start), tmp_path / "deck"
    lammps.export(models.load(committee), folder, atoms, SETTINGS)
    run, screen = lines_run(folder, "in.md", seed=5)
    assert "WARNING" not in screen
    shutil.copy(folder / "log", run / "log.lammps")
    (track,) = lammps.read(folder)[1]
    shape = lammps_deck.prism(atoms.cell.array)
    places, images = everything(folder / "every.in.md.dump", len(atoms))
    unwrapped = (places + images @ shape.cell) @ shape.rot_mat.T
    drift = (unwrapped - atoms.positions)[:, :-1].mean(axis=1)
    assert_allclose(track.positions, unwrapped[:, -1:] - drift[:, None], rtol=0, atol=3e-6)
    (run / "log.lammps").write_text((run / "log.lammps").read_text().replace("timestep 0.002", "timestep 0.001"))
    with pytest.raises(ValueError, match=r"log\.lammps: the time step was 1 fs, deck\.json says 2 fs"):
        lammps.read(folder)


@pytest.mark.skipif(not STARTS, reason="lmp (LAMMPS) is not on the PATH, or does not start")
def test_a_run_that_was_cut_off_goes_on_from_its_restart_file(committee, start, tmp_path):
    atoms = extxyz.read_frames(start)[0]
    folder = tmp_path / "deck"
    lammps.export(models.load(committee), folder, atoms, SETTINGS)
    run, _ = lines_run(folder, "in.md", seed=3, every=300)
    before = lammps.read(folder)[1][0].positions
    dump = (run / "ions.dump").read_text()
    (run / "ions.dump").write_text(dump[: dump.index("ITEM: TIMESTEP\n950\n") + 70])  # after restart.a of step 900
    _, screen = lines_run(folder, "in.more", seed=3, every=300, last=f"runs/{run.name}/restart.a")
    assert "WARNING" not in screen
    assert sorted(p.name for p in run.glob("*.1.*")) == ["drift.1.txt", "ions.1.dump"]
    (track,) = lammps.read(folder)[1]
    assert track.positions.shape == before.shape
    assert_allclose(track.positions[:91], before[:91], rtol=0, atol=3e-6)
    assert np.abs(track.positions[-1] - before[-1]).max() > 1e-3  # other noise
    places, images = everything(folder / "every.in.more.dump", len(atoms))
    unwrapped = places + images @ atoms.cell.array
    drift = (unwrapped - atoms.positions)[:, :-1].mean(axis=1)
    assert_allclose(track.positions[90:], unwrapped[:, -1:] - drift[:, None], rtol=0, atol=3e-6)
    assert (run / "restart.a").read_bytes()[-64:].count(lammps.RESTART_END.encode()) == 1
    (run / "ions.1.dump").write_text("ITEM: TIMESTEP\n910\n")
    with pytest.raises(ValueError, match=r"ions.1.dump: line 1 begins no whole frame"):
        lammps.read(folder)


def test_parts_of_a_run_that_leave_a_gap_are_refused(committee, start, tmp_path):
    deck = lammps.export(models.load(committee), tmp_path, extxyz.read_frames(start)[0], SETTINGS)
    run = dumped(tmp_path, deck)
    whole = (run / "ions.dump").read_text()
    at = {step: whole.index(f"ITEM: TIMESTEP\n{step}\n") for step in (150, 200, 220)}
    (run / "ions.1.dump").write_text(whole[at[200] : at[220] + 20])
    (run / "ions.2.dump").write_text(whole[at[150] :])  # from the restart file before
    (run / "ions.dump").write_text(whole[: at[220] + 30])
    (track,) = lammps.read(tmp_path)[1]
    assert_allclose(track.positions[:, 0, 1], 1.9 + 0.1 * np.arange(30), rtol=0, atol=2e-6)
    (run / "ions.2.dump").unlink()
    (run / "ions.1.dump").write_text(whole[at[200] :])
    (run / "ions.dump").write_text(whole[: at[150] + 30])
    with pytest.raises(ValueError, match="frames are not 10 steps apart"):
        lammps.read(tmp_path)


@pytest.mark.parametrize(("task", "temperature", "seed"), [(0, "700", "1"), (7, "900", "2"), (14, "1200", "3")])
def test_the_batch_script_gives_each_task_its_temperature_seed_and_folder(
    committee, start, tmp_path, task, temperature, seed
):
    lammps.export(models.load(committee), tmp_path, extxyz.read_frames(start)[0], SETTINGS)
    launcher = tmp_path / "bin" / "srun"
    launcher.parent.mkdir()
    launcher.write_text('#!/bin/bash\necho "$@"\n')
    launcher.chmod(0o755)
    path = {"PATH": f"{launcher.parent}:{os.environ['PATH']}"}
    slurm = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_GPUS_ON_NODE": "4"}
    told = subprocess.run(
        ["bash", "submit.sh"], cwd=tmp_path, env=path | slurm, capture_output=True, text=True, check=True
    ).stdout
    out = f"runs/T{temperature}-{seed}"
    assert f"-in in.md -var T {temperature} -var seed {seed} -var out {out} -log {out}/log.lammps" in told
    assert "-k on g 4 -sf kk" in told
    assert (tmp_path / out).is_dir()
    (tmp_path / out / "restart.b").write_text(f"\0all of it\0{lammps.RESTART_END}\0")
    (tmp_path / out / "restart.a").write_text("cut off")
    (tmp_path / out / "ions.1.dump").write_text("")
    os.utime(tmp_path / out / "restart.b", (0, 0))
    told = subprocess.run(
        ["bash", "submit.sh"], cwd=tmp_path, env=path | slurm, capture_output=True, text=True, check=True
    ).stdout
    assert f"-in in.more -var last {out}/restart.b -var part 2 -var T {temperature}" in told
