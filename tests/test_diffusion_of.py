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
from mlip.tools import trajectories
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


# --- files


def dump(path, frames, *, columns="id element xu yu zu", every=50, types=None):
    lines = []
    for k, atoms in enumerate(frames):
        lines += ["ITEM: TIMESTEP", str(k * every), "ITEM: NUMBER OF ATOMS", str(len(atoms))]
        lines += ["ITEM: BOX BOUNDS pp pp pp", *[f"0.0 {EDGE}"] * 3, f"ITEM: ATOMS {columns}"]
        for i, (symbol, place) in enumerate(zip(atoms.symbols, atoms.positions, strict=True), start=1):
            what = symbol if types is None else types[symbol]
            lines.append(f"{i} {what} " + " ".join(f"{x:.8f}" for x in place))
    path.write_text("\n".join(lines) + "\n")
    return path


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


def test_what_is_no_trajectory_is_told_in_a_line(tmp_path, capsys):
    assert "no such file; give extended XYZ" in refusal(tmp_path / "absent.xyz", capsys)
    (tmp_path / "text.xyz").write_text("no trajectory\n")
    assert "not readable as a trajectory" in refusal(tmp_path / "text.xyz", capsys)
    types = {"Mg": 2, "O": 3, "Li": 1}
    path = dump(tmp_path / "a.dump", trajectory(frames=3), columns="id type x y z", types=types)
    assert "the dump names no elements" in refusal(path, capsys)


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
