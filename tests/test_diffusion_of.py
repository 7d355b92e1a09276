"""The diffusion coefficient from trajectories of any origin: walks of known D, formats, limits, refusals."""

import re
from itertools import product

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from helpers import walks
from numpy.testing import assert_allclose
from scipy import constants

import mlip
from mlip import cli
from mlip.core import files
from mlip.core.status import NOT_RESOLVED, RESOLVED
from mlip.stages.diffusion.diffusion import NO_HOP
from mlip.tools import diffusion_of as tool
from mlip.tools import trajectories, trajectory_files
from mlip.tools.trajectories import IonTracks, Reading

FRAME_PS, RATE = 0.1, 0.05
EDGE = 3 * walks.A
HOST = np.array(list(product(range(3), repeat=3)), float) * walks.A + 1.9
CUBE = np.diag([walks.A] * 3)


def steps():
    return walks.steps_of(np.zeros((1, 3)), CUBE, 4.0)


def trajectory(*, rate=RATE, frames=2000, ions=4, seed=0, wrap=True, drift=(0.01, -0.02, 0.005), noise=0.1):
    """A crystal of MgO that drifts, with Li that walk on a cubic lattice of sites: D = rate a^2."""
    rng = np.random.default_rng(seed)
    own = [
        walks.track(rng, np.zeros((1, 3)), steps(), rate, frames=frames, frame_ps=FRAME_PS, noise=noise)
        for _ in range(ions)
    ]
    shift = np.arange(frames)[:, None] * np.array(drift)
    made = []
    for k in range(frames):
        places = np.concatenate([HOST + rng.normal(0, 0.05, HOST.shape), [way[k] for way in own]]) + shift[k]
        atoms = Atoms("Mg14O13" + f"Li{ions}", positions=places, cell=[EDGE] * 3, pbc=True)
        if wrap:
            atoms.wrap()
        made.append(atoms)
    return made


TRUE_CM2 = RATE * walks.A**2 * 1e-4


@pytest.mark.parametrize("wrap", [True, False])
def test_a_walk_has_its_diffusion_coefficient_wrapped_or_not(wrap):
    found = mlip.diffusion_of(trajectory(wrap=wrap), "Li", frame_fs=1000 * FRAME_PS)
    assert (found.status.code, found.ions, found.dimensions, found.trajectories) == (RESOLVED, 4, 3, 1)
    for estimate in (found.diffusion_cm2_per_s, found.from_jumps_cm2_per_s):
        assert estimate.low < TRUE_CM2 < estimate.high
        assert 0.5 * TRUE_CM2 < estimate.value < 1.6 * TRUE_CM2
    assert_allclose(found.ion_ps, 4 * 1999 * FRAME_PS, rtol=1e-12, atol=0)


def test_wrapping_drift_and_turning_of_the_cell_change_nothing():
    plain = trajectories.tracks(trajectory(wrap=False, drift=(0, 0, 0)), "Li", "t", Reading(frame_fs=100))
    for other in (trajectory(drift=(0, 0, 0)), trajectory(drift=(0.05, 0.02, -0.07))):
        again = trajectories.tracks(other, "Li", "t", Reading(frame_fs=100))
        moved = again.positions - again.positions[0] - (plain.positions - plain.positions[0])
        assert np.abs(moved).max() < 1e-9


def strained(frames, change, *, since=100):
    """The frames from one on with other cell vectors, wrapped into the new cell; atoms stay where they are."""
    for atoms in frames[since:]:
        atoms.set_cell(np.array(change) @ atoms.cell.array, scale_atoms=False)
        atoms.wrap()
    return frames


FLIPS = [
    [[1, 0, 0], [1, 1, 0], [0, 0, 1]],
    [[1, 0, 0], [0, 1, 0], [-1, 1, 1]],
    [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
    [[-1, 0, 0], [0, -1, 0], [0, 0, -1]],
]


@pytest.mark.parametrize("flip", FLIPS)
def test_a_cell_that_flips_to_other_vectors_of_its_lattice_changes_nothing(flip):
    plain, flipped = (
        trajectories.tracks(frames, "Li", "t", Reading(frame_fs=100)).positions
        for frames in (trajectory(frames=150, seed=3), strained(trajectory(frames=150, seed=3), flip))
    )
    assert_allclose(flipped, plain, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ([[1, 0, 0], [0.3, 1, 0], [0, 0, 1]], "the second cell vector changes by 0.30 of a cell vector between"),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 2]], "the third cell vector changes by 1.00 of a cell vector between"),
    ],
)
def test_a_cell_that_becomes_another_one_is_refused(change, told):
    with pytest.raises(ValueError, match=f"trajectory 1: {told} frames 99 and 100"):
        mlip.diffusion_of(strained(trajectory(frames=150, seed=3), change), "Li", frame_fs=100)


def test_a_cell_that_breathes_and_a_box_that_shrinks_around_a_slab_are_followed():
    frames = slab([1.8] * 4, frames=150)
    plain = trajectories.tracks(frames, "Li", "t", Reading(frame_fs=100)).positions
    rng = np.random.default_rng(0)
    for atoms in frames:
        atoms.cell[2] *= rng.uniform(0.9, 1.3)
        atoms.pbc[2] = False
    assert_allclose(trajectories.tracks(frames, "Li", "t", Reading(frame_fs=100)).positions[..., :2], plain[..., :2])
    breathing = trajectory(frames=150, seed=3)
    for atoms in breathing:
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-0.02, 0.02, (3, 3))), scale_atoms=True)
    assert mlip.diffusion_of(breathing, "Li", frame_fs=100).jumps > 10


@pytest.mark.parametrize("axis", range(3))
def test_a_wrapped_trajectory_that_says_it_is_not_periodic_is_refused(axis):
    frames = trajectory(frames=200)
    for atoms in frames:
        atoms.pbc[axis] = False
    name = ("first", "second", "third")[axis]
    with pytest.raises(
        ValueError, match=rf"trajectory 1: pbc is F along the {name} cell vector, and an atom jumps by \d.*write pbc=T"
    ):
        mlip.diffusion_of(frames, "Li", frame_fs=100)


def test_an_unwrapped_trajectory_needs_no_pbc():
    """Not even where an ion moves by more than half of the cell between two frames."""
    frames = trajectory(frames=200, wrap=False, drift=(0, 0, 0))
    steps_made = np.diff([atoms.positions[27:] for atoms in frames], axis=0)
    assert np.abs(steps_made).max() > 0.5 * EDGE
    for atoms in frames:
        atoms.pbc = False
    found = trajectories.tracks(frames, "Li", "t", Reading(frame_fs=100)).positions
    shift = np.cumsum([[0, 0, 0], *np.diff([a.positions[:27] for a in frames], axis=0).mean(1)], axis=0)
    expected = np.array([a.positions[27:] for a in frames]) - shift[:, None]
    assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_intervals_cover_the_truth():
    covered = {"regression": [], "jumps": []}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        ways = [
            walks.track(rng, np.zeros((1, 3)), steps(), RATE, frames=600, frame_ps=FRAME_PS, noise=0.2)
            for _ in range(6)
        ]
        one = IonTracks(positions=np.stack(ways, 1), frame_ps=FRAME_PS, volume_angstrom3=1e3, dimensions=3, others=27)
        found = tool.of_tracks([one], "Li", tool.Analysis())
        assert found.status.code == RESOLVED
        for key, mean in (("regression", found.diffusion_cm2_per_s), ("jumps", found.from_jumps_cm2_per_s)):
            covered[key].append(mean.low <= TRUE_CM2 <= mean.high)
    assert all(sum(seen) >= 10 for seen in covered.values()), covered


@pytest.mark.parametrize("jumps", [40, 170])
def test_an_ion_in_a_cage_of_two_sites_has_an_upper_limit_and_no_value(jumps):
    """D = 0; the regression alone would give values between 1e-6 and 1e21 cm2/s."""
    rng = np.random.default_rng(1)
    way = np.repeat(np.arange(jumps + 1) % 2, 45)[:, None, None] * [2.6, 0.0, 0.0]
    way = way + rng.normal(0, 0.15, (len(way), 1, 3))
    one = IonTracks(positions=way, frame_ps=FRAME_PS, volume_angstrom3=1e3, dimensions=3, others=27)
    found = tool.of_tracks([one], "Li", tool.Analysis(temperature_kelvin=600.0))
    assert found.jumps == jumps
    assert str(found.status) == "jumps cancel: upper limit"
    for estimate in (found.diffusion_cm2_per_s, found.from_jumps_cm2_per_s, found.conductivity_s_per_cm):
        assert (estimate.value, estimate.low) == (None, None)
        assert estimate.high > 0
    assert tool.summary(found)[0].startswith("Li: D below")


def test_an_ion_at_rest_has_an_upper_limit_and_no_value():
    found = mlip.diffusion_of(trajectory(rate=1e-9, frames=200), "Li", frame_fs=100, temperature_kelvin=300)
    assert (found.status.code, found.jumps, found.diffusion_cm2_per_s.value) == (NO_HOP, 0, None)
    assert_allclose(found.diffusion_cm2_per_s.high, 2.996 / (4 * 19.9) * 4.0**2 / 6 * 1e-4, rtol=1e-3, atol=0)
    assert (found.conductivity_s_per_cm.value, found.conductivity_s_per_cm.low) == (None, None)
    assert tool.summary(found)[0].startswith("Li: D below")


def test_the_upper_limit_of_an_ion_at_rest_holds_in_19_of_20_cases():
    """Hops of 3.5 Angstrom at the rate that the limit allows are missed in 5 % of trajectories, not in a third."""
    limit = mlip.diffusion_of(
        trajectory(rate=1e-9, frames=200), "Li", frame_fs=100, longest_jump_angstrom=3.5
    ).diffusion_cm2_per_s.high
    rate_per_ps = 6 * limit / 1e-4 / 3.5**2
    assert_allclose(np.exp(-rate_per_ps * 4 * 19.9), 0.05, rtol=1e-2)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"skip_ps": -5.0}, "skip_ps: -5 is below 0"),
        ({"temperature_kelvin": -300.0}, "temperature_kelvin: -300 is not above 0"),
        ({"jump_angstrom": 0.0}, "jump_angstrom: 0 is not above 0"),
        ({"longest_jump_angstrom": 1.0}, "longest_jump_angstrom: 1 is below jump_angstrom, 2"),
        ({"frame_fs": 0}, "frame_fs: 0 is not above 0; give a time in fs"),
        ({"frame_fs": -100.0}, "frame_fs: -100 is not above 0"),
        ({"frame_fs": float("nan")}, "frame_fs: nan is not above 0"),
        ({"dimensions": 0}, "dimensions: 0 is neither 2 nor 3"),
        ({"dimensions": 1}, "dimensions: 1 is neither 2 nor 3"),
    ],
)
def test_values_that_no_analysis_has_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        mlip.diffusion_of(trajectory(frames=200), "Li", **({"frame_fs": 100} | wrong))


def test_a_time_step_that_no_simulation_has_is_refused():
    with pytest.raises(ValueError, match="time_step_fs: -2 is not above 0"):
        Reading(time_step_fs=-2.0)


def test_few_jumps_are_no_sample():
    found = mlip.diffusion_of(trajectory(rate=0.01, frames=200), "Li", frame_fs=100)
    assert 0 < found.jumps < 10
    assert (found.status.code, found.diffusion_cm2_per_s.value) == (NOT_RESOLVED, None)
    assert found.status.reason == f"{found.jumps} displacements of 2 Angstrom (at least 10); run longer or hotter"
    assert found.diffusion_cm2_per_s.high > found.jumps / (4 * 19.9) * 2.0**2 / 6 * 1e-4


def test_the_conductivity_is_that_of_nernst_and_einstein():
    found = mlip.diffusion_of(trajectory(), "Li", frame_fs=100, temperature_kelvin=500)
    d_m2, volume_m3 = found.diffusion_cm2_per_s.value * 1e-4, (EDGE * 1e-10) ** 3
    expected = 4 / volume_m3 * constants.e**2 * d_m2 / (constants.k * 500) / 100
    assert_allclose(found.conductivity_s_per_cm.value, expected, rtol=1e-9, atol=0)
    twice = mlip.diffusion_of(trajectory(), "Li", frame_fs=100, temperature_kelvin=500, charge=2)
    assert_allclose(twice.conductivity_s_per_cm.value, 4 * expected, rtol=1e-9, atol=0)
    assert mlip.diffusion_of(trajectory(), "Li", frame_fs=100).conductivity_s_per_cm is None


def test_on_a_slab_two_axes_count_whatever_the_normal():
    made = []
    for atoms in trajectory(frames=400, rate=0.2, drift=(0, 0, 0), wrap=False):
        places = atoms.positions.copy()
        places[27:, 2] = 1.0
        made.append(Atoms(atoms.symbols, positions=places, cell=[EDGE, EDGE, 30.0], pbc=True))
    flat = mlip.diffusion_of(made, "Li", frame_fs=100, temperature_kelvin=300)
    turned = [Atoms(a.symbols, positions=a.positions[:, [2, 0, 1]], cell=[30.0, EDGE, EDGE], pbc=True) for a in made]
    again = mlip.diffusion_of(turned, "Li", frame_fs=100)
    assert flat.dimensions == again.dimensions == 2
    assert again.jumps == flat.jumps
    assert_allclose(again.from_jumps_cm2_per_s.value, flat.from_jumps_cm2_per_s.value, rtol=1e-6, atol=0)
    assert flat.diffusion_cm2_per_s.low < 0.2 * walks.A**2 * 1e-4 < flat.diffusion_cm2_per_s.high
    for dimensions in (None, 2, 3):
        slab = mlip.diffusion_of(made, "Li", frame_fs=100, temperature_kelvin=300, dimensions=dimensions)
        assert slab.conductivity_s_per_cm is None
        assert "a slab has no volume" in slab.notes[0]


def slab(above, *, vacuum=9.0, frames=400, seed=0):
    """A slab of three layers with Li that walk on it, so many Angstrom above the topmost layer."""
    top = max(HOST[:, 2])
    made = []
    for atoms in trajectory(frames=frames, rate=0.2, seed=seed, drift=(0, 0, 0), wrap=False):
        places = atoms.positions.copy()
        places[27:, 2] = top + np.array(above)
        made.append(Atoms(atoms.symbols, positions=places, cell=[EDGE, EDGE, 7.6 + vacuum], pbc=True))
    return made


@pytest.mark.parametrize("vacuum", [15.0, 9.0, 8.0])
def test_an_ion_in_the_vacuum_leaves_a_slab_a_slab(vacuum):
    """With 9 Angstrom between the faces, an ion 1.8 Angstrom above one of them leaves 7.2."""
    found = mlip.diffusion_of(slab([1.8] * 4, vacuum=vacuum), "Li", frame_fs=100, temperature_kelvin=300)
    wide = mlip.diffusion_of(slab([1.8] * 4, vacuum=30.0), "Li", frame_fs=100, temperature_kelvin=300)
    assert (found.dimensions, found.conductivity_s_per_cm) == (2, None)
    assert_allclose(found.from_jumps_cm2_per_s.value, wide.from_jumps_cm2_per_s.value, rtol=1e-9, atol=0)
    assert "ps of all ions, in 2 dimensions)" in tool.summary(found)[0]


def test_a_gap_that_ions_fill_is_no_vacuum():
    """Metal of the ion between two faces of the other atoms: a crystal, with a volume."""
    found = mlip.diffusion_of(slab([1.8, 3.6, 5.4, 7.2]), "Li", frame_fs=100, temperature_kelvin=300)
    assert (found.dimensions, found.conductivity_s_per_cm is None) == (3, False)
    assert "in 3 dimensions)" in tool.summary(found)[0]


def test_two_dimensions_of_a_crystal_have_a_conductivity_in_the_plane():
    """The crystal has a volume whatever D is asked for."""
    whole, plane = (
        mlip.diffusion_of(trajectory(rate=0.2), "Li", frame_fs=100, temperature_kelvin=500, dimensions=n)
        for n in (3, 2)
    )
    share = plane.diffusion_cm2_per_s.value / whole.diffusion_cm2_per_s.value
    assert_allclose(plane.conductivity_s_per_cm.value, share * whole.conductivity_s_per_cm.value, rtol=1e-9, atol=0)
    assert plane.notes[0].startswith("the conductivity in the plane is that of independent ions")


def test_replicas_are_taken_together():
    two = [trajectory(frames=300, seed=1), trajectory(frames=300, seed=2)]
    both = mlip.diffusion_of(two, "Li", frame_fs=100)
    assert both.trajectories == 2
    one = mlip.diffusion_of(two[0], "Li", frame_fs=100)
    assert both.ion_ps == 2 * one.ion_ps
    with pytest.raises(ValueError, match="trajectory 2 has 3 ions, the first 4; analyse them one by one"):
        mlip.diffusion_of([two[0], trajectory(frames=300, ions=3)], "Li", frame_fs=100)


def scaled_by(factor, *, atoms=None, seed=2):
    frames = trajectory(frames=60, seed=seed)
    for one in frames:
        one.set_cell(one.cell * factor, scale_atoms=True)
        one.symbols[one.symbols == "Mg"] = atoms or "Mg"
    return frames


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"factor": 1.0, "atoms": "Ca"}, "trajectory 3 holds Ca14Li4O13, trajectory 1 Li4Mg14O13: different systems"),
        ({"factor": 1.03}, r"trajectory 3 has a volume of 1618\.9 Angstrom\^3, trajectory 1 of 1481\.5: different"),
        ({"factor": 1.0, "seed": 3}, "trajectory 3 and trajectory 2: the ions move alike, the trajectory is the same"),
    ],
)
def test_replicas_are_of_one_system_and_none_is_given_twice(other, told):
    replicas = [trajectory(frames=60, seed=1), trajectory(frames=60, seed=3, wrap=False)[:40]]
    with pytest.raises(ValueError, match=told):
        mlip.diffusion_of([*replicas, scaled_by(**other)], "Li", frame_fs=100)


def test_replicas_at_another_pressure_or_at_rest_are_taken_together():
    found = mlip.diffusion_of([trajectory(frames=60, seed=1), scaled_by(1.01)], "Li", frame_fs=100)
    assert found.trajectories == 2
    still = trajectory(frames=60, rate=1e-9, noise=0.0, drift=(0, 0, 0))
    for atoms in still:
        atoms.positions = still[0].positions
    assert mlip.diffusion_of([still, still], "Li", frame_fs=100).jumps == 0


def test_slabs_of_another_area_are_refused_and_of_another_vacuum_are_not():
    wide = slab([1.8] * 4, vacuum=20.0, frames=60)
    assert mlip.diffusion_of([slab([1.8] * 4, frames=60, seed=1), wide], "Li", frame_fs=100).trajectories == 2
    for atoms in wide:
        atoms.set_cell(atoms.cell * [[1.06], [1.0], [1.0]], scale_atoms=True)
    with pytest.raises(ValueError, match=r"trajectory 2 has an area of the surface of 137\.8 Angstrom"):
        mlip.diffusion_of([slab([1.8] * 4, frames=60, seed=1), wide], "Li", frame_fs=100)


# --- files


def test_a_file_under_two_names_is_refused(tmp_path, capsys):
    frames = trajectory(frames=60, wrap=False)
    write(tmp_path / "a.traj", frames)
    write(tmp_path / "b.xyz", [a for a in frames if not a.wrap()], format="extxyz")
    given = ["diffusion-of", str(tmp_path / "a.traj"), str(tmp_path / "b.xyz"), "--ion=Li", "--frame-time=100"]
    assert cli.main(given) == 1
    assert re.search(r"b\.xyz and .*a\.traj: the ions move alike, .*give it once", capsys.readouterr().err)


def dump(path, frames, *, columns="id element xu yu zu", every=50, types=None, boundary="pp pp pp", steps_made=None):
    lines = []
    for atoms, step in zip(frames, steps_made or range(0, every * len(frames), every), strict=True):
        lines += ["ITEM: TIMESTEP", str(step), "ITEM: NUMBER OF ATOMS", str(len(atoms))]
        lines += [f"ITEM: BOX BOUNDS {boundary}", *[f"0.0 {EDGE}"] * 3, f"ITEM: ATOMS {columns}"]
        for i, (symbol, place) in enumerate(zip(atoms.symbols, atoms.positions, strict=True), start=1):
            what = symbol if types is None else types[symbol]
            lines.append(f"{i} {what} " + " ".join(f"{x:.8f}" for x in place))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_dump_of_wrapped_atoms_in_a_fixed_box_is_refused(tmp_path, capsys):
    path = dump(tmp_path / "a.dump", trajectory(frames=100), columns="id element x y z", boundary="pp pp ff")
    assert "pbc is F along the third cell vector" in refusal(path, capsys)


def test_every_format_gives_the_same(tmp_path, capsys):
    frames = trajectory(frames=150, rate=0.2, wrap=False)
    expected = mlip.diffusion_of(frames, "Li", frame_fs=100)
    write(tmp_path / "a.traj", frames)
    write(tmp_path / "a.xyz", frames, format="extxyz")
    for k, atoms in enumerate(frames):
        atoms.info["time_ps"] = k * FRAME_PS
    write(tmp_path / "timed.xyz", frames, format="extxyz")
    dump(tmp_path / "a.dump", frames)
    dump(tmp_path / "a.lammpstrj", frames, columns="id type x y z", types={"Mg": 2, "O": 3, "Li": 1})
    for words in (
        ["a.traj", "--frame-time=100"],
        ["a.xyz", "--frame-time=100"],
        ["timed.xyz"],
        ["a.dump", "--time-step=2"],
        ["a.lammpstrj", "--time-step=2", "--species=Li,Mg,O"],
    ):
        out = tmp_path / "out.json"
        assert cli.main(["diffusion-of", str(tmp_path / words[0]), *words[1:], "--ion=Li", "-o", str(out)]) == 0
        assert re.match(r"Li: D \d\.\d\de-04 \(.* to .*\) cm2/s, resolved \(", capsys.readouterr().out)
        found = files.read_record(out, tool.IonDiffusion)
        assert (found.jumps, found.frames) == (expected.jumps, 150)
        for name, rtol in (("from_jumps_cm2_per_s", 1e-6), ("diffusion_cm2_per_s", 0.1)):  # the second is sampled
            assert_allclose(getattr(found, name).value, getattr(expected, name).value, rtol=rtol, atol=0)


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("--temperature=500", {"temperature_kelvin": 500.0}),
        ("--temperature=500 --charge=2", {"temperature_kelvin": 500.0, "charge": 2.0}),
        ("--skip=5", {"skip_ps": 5.0}),
        ("--dimensions=2", {"dimensions": 2}),
        ("--jump=1.5", {"jump_angstrom": 1.5}),
        ("--longest-jump=6", {"longest_jump_angstrom": 6.0}),
    ],
)
def test_every_option_of_the_command_reaches_the_calculation(words, arguments, tmp_path):
    """Of ions at rest: the same as the function with these arguments, and not the same as without the last one."""
    frames = trajectory(frames=100, rate=1e-9, wrap=False)
    write(tmp_path / "a.traj", frames)
    results = []
    for count in (len(arguments), len(arguments) - 1):
        out, options = tmp_path / f"{count}.json", words.split()[:count]
        given = ["diffusion-of", str(tmp_path / "a.traj"), "--ion=Li", "--frame-time=100", *options, "-o", str(out)]
        assert cli.main(given) == 0
        results.append(files.read_record(out, tool.IonDiffusion))
        expected = mlip.diffusion_of(frames, "Li", frame_fs=100, **dict(list(arguments.items())[:count]))
        assert results[-1] == expected
    assert results[0] != results[1]


def other_atoms(frames):
    frames[7] = frames[7][:-1]


def no_cell(frames):
    frames[3].cell = None


def not_a_number(frames):
    frames[3].positions[28, 0] = np.inf


def far(frames):
    frames[9].positions[28] = frames[8].positions[28] + [0, 0.45 * EDGE, 0]


def unequal(frames):
    for k, atoms in enumerate(frames):
        atoms.info["time_fs"] = 10.0 * (k + (k > 20))


def backwards(frames):
    for k, atoms in enumerate(frames):
        atoms.info["time_fs"] = -100.0 * k


def partly_timed(frames):
    for k, atoms in enumerate(frames):
        if k not in {5, 6}:
            atoms.info["time_fs"] = 100.0 * k


def not_a_time(frames):
    for k, atoms in enumerate(frames):
        atoms.info["time_ps"] = np.nan if k == 4 else 0.1 * k


def a_time_of_words(frames):
    for k, atoms in enumerate(frames):
        atoms.info["time_ps"] = "soon" if k == 4 else 0.1 * k


def said_otherwise(frames):
    for k, atoms in enumerate(frames):
        atoms.info["time_fs"] = 10.0 * k


def one_frame(frames):
    del frames[1:]


def written(tmp_path, change=None):
    frames = trajectory(frames=30, wrap=False)
    if change is not None:
        change(frames)
    write(tmp_path / "a.xyz", frames, format="extxyz")
    return tmp_path / "a.xyz"


REFUSED = {
    other_atoms: "frame 7 holds other atoms",
    no_cell: "frame 3 has no cell",
    not_a_number: "frame 3 holds a coordinate that is no finite number",
    far: r"an ion moves by 0\.45 of a cell vector between frames 8 and 9.*store frames more often",
    unequal: r"frames 20 and 21 are 0\.02 ps apart, the first two 0\.01 ps",
    backwards: r"from frame 0 to 1 the time goes from -?0 to -0\.1 ps; write each frame once and in order of time",
    partly_timed: "frame 5 says no time and frame 0 does; write time_fs or time_ps to all frames",
    not_a_time: "frame 4 has the time_ps nan, which is no finite number",
    a_time_of_words: "frame 4 has the time_ps soon, which is no finite number",
    said_otherwise: "its frames are 10 fs apart, 100 fs are given",
    one_frame: "holds 1 frames",
}


def refusal(path, capsys):
    assert cli.main(["diffusion-of", str(path), "--ion=Li", "--frame-time=100"]) == 1
    line = capsys.readouterr().err.strip()
    assert "\n" not in line
    assert path.name in line
    return line


@pytest.mark.parametrize("change", REFUSED)
def test_what_is_wrong_with_a_trajectory_is_told_in_a_line(change, tmp_path, capsys):
    line = refusal(written(tmp_path, change), capsys)
    assert re.search(REFUSED[change], line), line


@pytest.mark.parametrize("option", ["--frame-time=100", "--time-step=2"])
@pytest.mark.parametrize(
    ("steps_made", "told"),
    [
        ([0, 100, 200, 1200, 2200], "frames 2 and 3 are 1000 steps apart, the first two 100 steps; leave frames out"),
        ([400, 300, 200, 100, 0], "from frame 0 to 1 the time goes from 400 to 300 steps; write each frame once"),
        ([0, 100, 200, 200, 300], "from frame 2 to 3 the time goes from 200 to 200 steps"),
    ],
)
def test_the_steps_of_a_dump_count_whatever_the_user_says(option, steps_made, told, tmp_path, capsys):
    path = dump(tmp_path / "a.dump", trajectory(frames=5, rate=1e-9, wrap=False), steps_made=steps_made)
    assert cli.main(["diffusion-of", str(path), "--ion=Li", option]) == 1
    line = capsys.readouterr().err.strip()
    assert re.search(told if option.startswith("--frame") else "frame", line), line
    assert "\n" not in line


def test_what_is_no_trajectory_is_told_in_a_line(tmp_path, capsys):
    assert "no such file; give extended XYZ" in refusal(tmp_path / "absent.xyz", capsys)
    (tmp_path / "text.xyz").write_text("no trajectory\n")
    assert "not readable as a trajectory" in refusal(tmp_path / "text.xyz", capsys)
    types = {"Mg": 2, "O": 3, "Li": 1}
    path = dump(tmp_path / "a.dump", trajectory(frames=3), columns="id type x y z", types=types)
    assert "the dump names no elements" in refusal(path, capsys)


@pytest.mark.parametrize("columns", ["id element xs y z", "id element vx vy vz", "id element x y ix"])
def test_a_dump_without_a_full_set_of_coordinates_is_told(columns, tmp_path, capsys):
    line = refusal(dump(tmp_path / "a.dump", trajectory(frames=3), columns=columns), capsys)
    assert f"the dump has the columns {columns}, which hold no full set of coordinates; write one of x y z, xs" in line


@pytest.mark.parametrize("kept", [0.4, 0.9])
def test_a_dump_that_is_cut_off_in_a_frame_is_told(kept, tmp_path, capsys):
    """In its head (the reader raises RuntimeError) and in its atoms."""
    path = dump(tmp_path / "a.dump", trajectory(frames=5, wrap=False))
    head, last = path.read_text().rsplit("ITEM: TIMESTEP", 1)
    path.write_text(head + "ITEM: TIMESTEP" + (last[:25] if kept < 0.5 else last[: int(kept * len(last))]))
    assert re.search("not readable as a LAMMPS dump|frame 4 holds other atoms", refusal(path, capsys))


def test_whatever_a_reader_raises_is_told_in_a_line(tmp_path, capsys, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no such block\nsecond line")
        yield

    path = written(tmp_path)
    monkeypatch.setattr(trajectory_files, "iread", broken)
    assert "not readable as a trajectory (no such block); cut off what is damaged" in refusal(path, capsys)


def test_times_ions_and_skips_that_do_not_fit_are_told(tmp_path, capsys):
    path = written(tmp_path)
    for words, told in (
        (["--ion=Li"], "does not say how far frames are apart in time"),
        (["--ion=Na", "--frame-time=100"], "holds no Na, only Li, Mg, O"),
        (["--ion=Li", "--frame-time=100", "--skip=5"], "skip 5 ps leaves 0 frames"),
    ):
        assert cli.main(["diffusion-of", str(path), *words]) == 1
        assert told in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["diffusion-of", str(path), "--ion=Li", "--temperature=-3"])
    assert "no number above 0" in capsys.readouterr().err


def test_nothing_skipped_may_be_written_out_and_less_than_nothing_is_refused(tmp_path, capsys):
    write(tmp_path / "a.traj", trajectory(frames=100, rate=1e-9, wrap=False))
    given = ["diffusion-of", str(tmp_path / "a.traj"), "--ion=Li", "--frame-time=100"]
    assert cli.main([*given, "--skip=0"]) == 0
    with pytest.raises(SystemExit):
        cli.main([*given, "--skip=-1"])
    assert "argument --skip: '-1' is no number from 0" in capsys.readouterr().err
