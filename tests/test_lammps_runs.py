"""Decks of LAMMPS that disagree with deck.json in one value, and cells that LAMMPS does not take as they are."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from helpers import tiny
from numpy.testing import assert_allclose

from mlip import config
from mlip.atoms import cells, extxyz
from mlip.core.run import Run
from mlip.potential import potential
from mlip.stages.diffusion.settings import DiffusionSettings
from mlip.stages.md import lammps, lammps_deck, lammps_inputs, lammps_runs, trajectory

DATA = Path(__file__).parent / "data"
MODEL = tiny.DATA.parent / "models" / "tio2-mg-li"
RUN = "runs/T1000-1"


@pytest.fixture
def half(tmp_path):
    """A deck whose input has half the time step of deck.json."""
    return Path(shutil.copytree(DATA / "lammps" / "half_timestep", tmp_path / "deck"))


def edit(folder, name, *changes):
    """Change texts that are there."""
    path = folder / name
    text = path.read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    path.write_text(text)


@pytest.fixture
def deck(half):
    """The same deck with the time step that deck.json says."""
    edit(half, "in.md", ("timestep 0.001", "timestep 0.002"))
    edit(half, f"{RUN}/log.lammps", ("timestep 0.001", "timestep 0.002"), ("80000   80 ", "80000   160 "))
    return half


def said(folder, **changes):
    """Change values of deck.json, of its header where they are there."""
    values = json.loads((folder / "deck.json").read_text())
    for key, value in changes.items():
        (values["header"] if key in values["header"] else values)[key] = value
    (folder / "deck.json").write_text(json.dumps(values))


def test_a_deck_with_half_the_time_step_is_refused(half):
    with pytest.raises(ValueError, match=r"in\.md: the time step is 1 fs, deck\.json says 2 fs; analyse the run with"):
        lammps.read(half)
    edit(half, "in.md", ("timestep 0.001", "timestep 0.002"))
    with pytest.raises(ValueError, match=r"log\.lammps: the time step was 1 fs, deck\.json says 2 fs"):
        lammps.read(half)


def test_the_deck_as_it_was_made_is_read(deck):
    header, (track,) = lammps.read(deck)
    assert (header.frame_ps, track.temperature_kelvin, track.symbols) == (0.04, 1000.0, ("Li",))
    assert_allclose(
        track.positions[:2, 0], [[1.900894, 1.942857, 15.744573], [1.86013, 2.018189, 15.805533]], atol=1e-9
    )


def test_a_deck_of_which_only_what_is_read_is_left_is_read(deck):
    before = lammps.read(deck)[1][0].positions
    for name in ("in.md", "start.data", f"{RUN}/log.lammps"):
        (deck / name).unlink()
    assert_allclose(lammps.read(deck)[1][0].positions, before, rtol=0, atol=0)


MD = [
    ("timestep 0.002", "timestep 0.0005", "the time step is 0.5 fs, deck.json says 2 fs"),
    ("timestep 0.002", "variable dt equal 0.004\ntimestep ${dt}", "the time step is 4 fs, deck.json says 2 fs"),
    ("timestep 0.002", "", "the time step is 1 fs, deck.json says 2 fs"),
    ("timestep 0.002", "timestep &\n 0.001", "the time step is 1 fs, deck.json says 2 fs"),
    ("run 500 upto", "timestep 0.001\nrun 500 upto", "the time step is 1 fs, deck.json says 2 fs"),
    ("units metal", "units real", "units are real, deck.json says picoseconds and Angstrom"),
    ("custom 20 ", "custom 40 ", "ions.dump is written every 40 steps, deck.json says 20 steps"),
    ("dump_modify ions", "dump_modify ions every 10", "ions.dump is written every 10 steps, deck.json says 20 steps"),
    ("ave/time 20 1 20", "ave/time 20 1 40", "drift.txt is written every 40 steps, deck.json says 20 steps"),
    (
        "ions id 49:49",
        "ions id 48:49",
        r"the group ions has 2 atoms \(ids 48 to 49\), deck.json says 1 \(ids 49 to 49\)",
    ),
    ("host id 1:48", "host id 1:40", r"the group host has 40 atoms \(ids 1 to 40\), deck.json says 48"),
    ("frozen id 1 5 9", "frozen id 1 5", "the group frozen has 11 atoms .*, deck.json says 12"),
    ("* * Ti O Li", "* * Ti O Mg", "the species of pair_coeff are Ti O Mg, deck.json says Ti O Li"),
    ("* * Ti O Li", "* * O Ti Li", "the species of pair_coeff are O Ti Li, deck.json says Ti O Li"),
    ("* * Ti O Li", "* * Ti O", "the species of pair_coeff are Ti O, deck.json says Ti O Li"),
    (
        "fix move mobile nve",
        "fix move mobile npt temp ${T} ${T} 0.1 iso 0 0 1",
        "there is a fix npt, deck.json says a c",
    ),
    ("fix move mobile nve", "fix move mobile nve\nfix x all dt/reset 1 NULL 0.01 0.1", "there is a fix dt/reset"),
    ("fix move mobile nve", "fix move mobile nve\nfix x all deform/kk 1 x erate 1", "there is a fix deform"),
]


@pytest.mark.parametrize(("before", "after", "message"), MD)
def test_an_input_that_disagrees_is_refused_by_name_and_value(deck, before, after, message):
    edit(deck, "in.md", (before, after))
    with pytest.raises(ValueError, match=rf"in\.md: {message}") as caught:
        lammps.read(deck)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("run 500 upto", "run 900000 upto"),
        ("thermo 100", "thermo 7 # timestep 0.5"),
        ("neighbor 1.0 bin", "neighbor 2.0 bin"),
        ("timestep 0.002", "timestep 2.0e-3"),
        ("timestep 0.002", "variable dt equal 0.002\ntimestep ${dt}"),
        ("run 100\n", "timestep 0.0005\nrun 100\ntimestep 0.002\n"),  # a gentler start
        ("pair_style mliap unified model-mliap_lammps.pt 0", "pair_style mace no_domain_decomposition"),
        ("* * Ti O Li", "* * model-lammps.pt Ti O Li"),
        ("frozen id 1 5 9", "frozen id 9 1 5"),
    ],
)
def test_what_is_the_users_may_change(deck, before, after):
    edit(deck, "in.md", (before, after))
    assert len(lammps.read(deck)[1]) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time_step_fs": 1.0}, "in.md: the time step is 2 fs, deck.json says 1 fs"),
        ({"frame_steps": 10}, "in.md: drift.txt is written every 20 steps, deck.json says 10 steps"),
        ({"elements": ["O", "Ti", "Li"]}, "in.md: the species of pair_coeff are Ti O Li, deck.json says O Ti Li"),
        ({"atoms": 61, "stored": [60]}, "in.md: the group host has 48 atoms"),
        ({"frozen": [0]}, "in.md: the group frozen has 12 atoms"),
        (
            {"cell_angstrom": [[7.7, 0, 0], [0, 7.6, 0], [0, 0, 23.100224]]},
            "start.data: the cell is 7.6000 x 7.6000 x 23.1002 Angstrom, deck.json says 7.7000 x 7.6000 x 23.1002",
        ),
        (
            {"cell_angstrom": [[7.6, 0, 0], [0.5, 7.6, 0], [0, 0, 23.100224]]},
            "start.data: the cell is .* deck.json says 7.6000 x 7.6000 x 23.1002, tilts 0.5000 0.0000 0.0000 Angstrom",
        ),
        ({"ions": ["Mg"], "symbols": ["Mg"]}, "start.data: the last atoms are Li, deck.json says Mg"),
    ],
)
def test_another_deck_json_is_refused(deck, changes, message):
    said(deck, **changes)
    with pytest.raises(ValueError, match=message):
        lammps.read(deck)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "0.0 7.6000000000 ylo",
            "0.0 7.7000000000 ylo",
            "the cell is 7.6000 x 7.7000 x 23.1002 Angstrom, deck.json says",
        ),
        ("1 47.867000", "1 15.999000", "atoms of type 1 weigh 15.999, deck.json says Ti, 47.867"),
        ("49 atoms", "48 atoms", "does not fit deck.json or is damaged|the atoms are"),
    ],
)
def test_another_data_file_is_refused(deck, before, after, message):
    edit(deck, "start.data", (before, after))
    with pytest.raises(ValueError, match=rf"start\.data: ({message})"):
        lammps.read(deck)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "0.0 7.600000 0.0",
            "0.0 7.700000 0.0",
            "the cell is 7.7000 x 7.7000 x 23.1002 Angstrom, deck.json says 7.6000 x",
        ),
        ("\n49 ", "\n48 ", r"the atoms after line \d+ have the ids 48, deck.json says 49 to 49"),
        ("ATOMS\n1\n", "ATOMS\n2\n", "2 ions at step 0, not 1; the file is cut short or of another deck"),
        ("TIMESTEP\n20\n", "TIMESTEP\n25\n", "frames are not 20 steps apart"),
        ("id xu yu zu", "id x y z", "line 1 begins no whole frame 'id xu yu zu'"),
    ],
)
def test_another_dump_is_refused(deck, before, after, message):
    edit(deck, f"{RUN}/ions.dump", (before, after))
    with pytest.raises(ValueError, match=rf"ions\.dump: {message}"):
        lammps.read(deck)


def test_a_cell_that_changes_on_the_way_is_refused(deck):
    text = (deck / RUN / "ions.dump").read_text()
    at = text.index("0.0 7.600000 0.0", len(text) // 2)
    (deck / RUN / "ions.dump").write_text(text[:at] + text[at:].replace("7.600000", "7.650000"))
    with pytest.raises(ValueError, match=r"ions\.dump: the cell is 7\.6500 x"):
        lammps.read(deck)


def test_temperatures_agree_in_file_folder_thermostat_and_log(deck):
    edit(deck, "in.md", ("langevin ${T} ${T} 2", "langevin 600 600 2"))
    with pytest.raises(ValueError, match=r"temperature is 1000 K, the thermostat in in.md or in.more says 600 K"):
        lammps.read(deck)
    edit(deck, "in.md", ("langevin 600 600 2", "langevin 1000 1000 2"))
    assert lammps.read(deck)[1][0].temperature_kelvin == 1000.0
    (deck / RUN / "temperature.txt").write_text("900\n")
    with pytest.raises(ValueError, match="the temperature is 900 K, the name of the folder says 1000 K"):
        lammps.read(deck)
    (deck / RUN / "temperature.txt").write_text("warm\n")
    with pytest.raises(ValueError, match=r"temperature\.txt: holds 'warm' where a temperature in Kelvin belongs"):
        lammps.read(deck)
    (deck / RUN / "temperature.txt").write_text("1000\n")
    rows = "".join(f"{100 * k} {0.2 * k} 700 -500\n" for k in range(40))
    (deck / RUN / "log.lammps").write_text(f"   Step  Time  c_heat  PotEng\n{rows}Loop time of 1.0\n")
    with pytest.raises(ValueError, match=r"log\.lammps: the atoms had 700 K, temperature\.txt says 1000 K"):
        lammps.read(deck)
    rows = "".join(f"{100 * k} {0.1 * k} 990 -500\n" for k in range(40))
    (deck / RUN / "log.lammps").write_text(f"   Step  Time  c_heat  PotEng\n{rows}Loop time of 1.0\n")
    with pytest.raises(ValueError, match=r"log\.lammps: the time step was 1 fs, deck\.json says 2 fs"):
        lammps.read(deck)


# -- cells that LAMMPS does not take as they are ---------------------------------------------------------------------


def start(name):
    return extxyz.read_frames(DATA / "frames" / f"{name}.extxyz")[0]


def written(atoms):
    """The data file of LAMMPS of a frame, as ASE reads it, and its text."""
    elements = tuple(dict.fromkeys(atoms.get_chemical_symbols()))
    text = lammps._data(atoms, elements)
    found = read(io.StringIO(text), format="lammps-data", units="metal", atom_style="atomic")
    return found, text


@pytest.mark.parametrize("name", ["third-reversed", "second-reversed", "very-tilted"])
def test_left_handed_and_tilted_starts_reach_lammps_right_handed_and_upright(name):
    atoms = start(name)
    found, text = written(atoms)
    assert not cells.is_left_handed(found)
    bounds = [[float(x) for x in line.split()[:2]] for line in text.splitlines() if line.endswith("hi")]
    assert all(low < high for low, high in bounds)
    assert_allclose(found.cell.array, np.diag([7.6, 7.6, 23.100224]), rtol=0, atol=1e-6)
    assert list(found.symbols) == list(atoms.symbols)
    assert_allclose(found.positions, atoms.positions, rtol=0, atol=1e-9)


def test_energies_of_the_data_files_are_those_of_the_starts():
    evaluator = potential.load(MODEL, members=[1]).evaluator
    starts = [start(name) for name in ("third-reversed", "second-reversed", "very-tilted")]
    frames = [*starts, *(written(atoms)[0] for atoms in starts)]
    found = [p.energy_ev for p in evaluator(frames)]
    assert_allclose(found, found[0], rtol=0, atol=1e-6)


def odd(seed, *, left=False):
    """A cell of no particular shape with atoms inside and far outside."""
    rng = np.random.default_rng(seed)
    atoms = Atoms("TiO2", positions=rng.uniform(-20, 30, (3, 3)), pbc=True)
    cell = rng.uniform(-3, 3, (3, 3)) + np.diag([6, 7, 9])
    cell[1] += 4 * cell[0]
    atoms.set_cell(cell if (np.linalg.det(cell) < 0) == left else cell[[1, 0, 2]])
    return atoms


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("left", [True, False])
def test_any_cell_is_turned_into_one_of_lammps_and_back(seed, left):
    atoms = odd(seed, left=left)
    assert cells.is_left_handed(atoms) == left
    found, _ = written(atoms)
    cell = found.cell.array
    assert_allclose(cell[np.triu_indices(3, 1)], 0.0, rtol=0, atol=1e-12)
    assert (np.diag(cell) > 0).all()
    tilts = np.abs([cell[1, 0] / cell[0, 0], cell[2, 0] / cell[0, 0], cell[2, 1] / cell[1, 1]])
    assert (tilts <= 0.5 + 1e-9).all()  # no warning of LAMMPS
    turn = lammps_deck.prism(atoms.cell.array).rot_mat
    assert_allclose(turn @ turn.T, np.eye(3), rtol=0, atol=1e-12)
    assert_allclose(np.linalg.det(turn), 1.0, rtol=1e-12)
    assert_allclose(found.positions @ turn.T, atoms.positions, rtol=0, atol=1e-8)  # unwrapped by the images
    assert lammps_deck.lattice_difference_angstrom(cell, atoms.cell.array) < 1e-8
    whole = cell @ turn.T @ np.linalg.inv(atoms.cell.array)
    assert_allclose(whole, np.round(whole), rtol=0, atol=1e-8)


def test_standard_cells_are_not_turned():
    atoms = start("third-reversed")
    atoms.cell[2] *= -1.0
    assert_allclose(lammps_deck.prism(atoms.cell.array).rot_mat, np.eye(3), rtol=0, atol=1e-14)


def known(folder, atoms, walk):
    """A deck of a start, and a run in which the last atom takes this walk (F, 3) on a host that drifts."""
    shape = lammps_deck.prism(atoms.cell.array)
    a, b, c = (tuple(float(x) for x in row) for row in atoms.cell.array)
    header = trajectory.Header(
        name="x_lammps",
        host="bulk",
        ions=("O",),
        symbols=("O",),
        stored=(2,),
        atoms=3,
        mobile=3,
        cell_angstrom=(a, b, c),
        repeat=(1, 1, 1),
        replicas=(),
        temperatures_kelvin=(),
        time_step_fs=2.0,
        frame_steps=10,
        model="m",
        settings="lammps",
    )
    deck = lammps_deck.Deck(
        header=header, elements=("Ti", "O"), frozen=(), target_ps=1.0, equilibrate_ps=0.1, friction_per_ps=1.0
    )
    lammps.files.write_record(folder / "deck.json", deck)
    (folder / "start.data").write_text(lammps._data(atoms, deck.elements))
    (folder / "in.md").write_text(lammps._input(deck))
    out = folder / "runs" / "T900-1"
    out.mkdir(parents=True)
    drift = np.outer(np.arange(len(walk)), [0.01, -0.02, 0.03])
    cell = shape.cell
    tilts = cell[1, 0], cell[2, 0], cell[2, 1]
    low = [min(0, tilts[0], tilts[1], tilts[0] + tilts[1]), min(0, tilts[2]), 0.0]
    high = [cell[0, 0] + max(0, tilts[0], tilts[1], tilts[0] + tilts[1]), cell[1, 1] + max(0, tilts[2]), cell[2, 2]]
    box = [f"{lo:.16e} {hi:.16e} {t:.16e}" for lo, hi, t in zip(low, high, tilts, strict=True)]
    lines, moved = [], []
    for k, place in enumerate((walk + drift) @ shape.rot_mat):
        lines += [
            "ITEM: TIMESTEP",
            f"{10 * k}",
            "ITEM: NUMBER OF ATOMS",
            "1",
            "ITEM: BOX BOUNDS xy xz yz pp pp pp",
            *box,
        ]
        lines += ["ITEM: ATOMS id xu yu zu", f"3 {place[0]:.6f} {place[1]:.6f} {place[2]:.6f}"]
        moved.append(f"{10 * k} " + " ".join(f"{x:.8f}" for x in drift[k] @ shape.rot_mat))
    (out / "ions.dump").write_text("\n".join(lines) + "\n")
    (out / "drift.txt").write_text("\n".join(moved) + "\n")
    (out / "temperature.txt").write_text("900\n")
    return deck


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("left", [True, False])
def test_a_known_trajectory_comes_back_in_the_frame_of_the_start(tmp_path, seed, left):
    atoms = odd(seed, left=left)
    walk = atoms.positions[2] + np.cumsum(np.random.default_rng(9).normal(0, 0.4, (40, 3)), axis=0)
    known(tmp_path, atoms, walk)
    (track,) = lammps.read(tmp_path)[1]
    assert_allclose(track.positions[:, 0], walk, rtol=0, atol=3e-6)
    assert_allclose(track.frame_ps, 0.02, rtol=1e-12)


# -- staleness -------------------------------------------------------------------------------------------------------


def of(stage, tmp_path, *folders):
    """The fingerprint of a stage where these folders of LAMMPS are named."""
    sections = config.defaults() | {"diffusion": DiffusionSettings(lammps=folders)}
    r = Run(tmp_path / "run", sections, config.stages())
    return r.fingerprint(r.stage(stage))


def test_a_folder_of_lammps_is_an_input_of_the_diffusion_stage(deck, tmp_path):
    other = Path(shutil.copytree(deck, tmp_path / "other" / "deck"))

    def fingerprint():
        return of("diffusion", tmp_path, deck, other)

    seen = [fingerprint()]
    assert fingerprint() == seen[0]
    (deck / "lmp.out").write_text("not read")
    (deck / RUN / "restart.a").write_text("not read")
    assert fingerprint() == seen[0]
    for folder in (deck, other):
        for name in ("deck.json", "in.md", "start.data", *(f"{RUN}/{n}" for n in ("drift.txt", "log.lammps"))):
            edit(folder, name, ("\n", "\n "))
            seen.append(fingerprint())
        text = (folder / RUN / "ions.dump").read_text()
        (folder / RUN / "ions.dump").write_text(text + text[: text.index("ITEM: TIMESTEP", 10)])
        seen.append(fingerprint())
        (folder / RUN / "ions.1.dump").write_text("")
        seen.append(fingerprint())
        shutil.copytree(folder / RUN, folder / "runs" / "T1000-2")
        seen.append(fingerprint())
    assert len(set(seen)) == len(seen)


def test_other_stages_do_not_depend_on_folders_of_lammps(deck, tmp_path):
    for stage in ("structures", "dataset", "md"):
        assert of(stage, tmp_path, deck) == of(stage, tmp_path)


def test_folders_that_are_not_there_yet_stop_no_other_stage(tmp_path):
    assert of("diffusion", tmp_path, tmp_path / "later") != of("diffusion", tmp_path)


def test_numbers_and_commands_of_inputs(tmp_path):
    (tmp_path / "in").write_text(
        "variable n index 4 # four\nrun ${n} & # more\n\n# no\nfix a all nve\nvariable T index 9\n"
    )
    assert next(iter(lammps_inputs.commands(tmp_path / "in")))[:2] == ["run", "4"]
    assert lammps_inputs.number("1e-3") == 0.001
    assert lammps_inputs.number("${T}") is None
    assert lammps_runs.LOG_ROWS > 1
