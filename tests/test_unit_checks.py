"""Units and signs of labels without near frames: the factors of every common mistake, and what can only be said."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from helpers import tiny
from numpy.testing import assert_allclose

from mlip.atoms import extxyz
from mlip.core.units import BOHR_ANGSTROM, HARTREE_EV
from mlip.stages.dataset import labels, unit_checks

NAMES = (
    *("001_11_Li_ah00", "001_11_Mg_ah00", "001_11_clean_ah00", "bulk1_clean_ah00", "bulk1_clean_ah01"),
    *(f"bulk1_Li_{k}" for k in ("ah00", "ah01", "al00", "al01", "an00", "an01")),
    *(f"bulk1_Mg_{k}" for k in ("ah00", "ah01", "ah02", "al00", "al01", "am11")),
)
FORCE = HARTREE_EV / BOHR_ANGSTROM


@pytest.fixture(scope="module")
def potential(one_thread):
    """The released potential, evaluated once for each frame."""
    from mlip.tools import merge_datasets

    found, known = merge_datasets._potential(), {}

    def predict(frames):
        new = [f for f in frames if f.info["frame_id"] not in known]
        known.update(zip([f.info["frame_id"] for f in new], found.predict(new), strict=True))
        return [known[f.info["frame_id"]] for f in frames]

    return unit_checks.Potential(found.name, found.elements, predict)


@pytest.fixture
def frames():
    every = {f.info["frame_id"]: f for f in extxyz.read_frames(tiny.DATA / "frames.extxyz")}
    return [every[name] for name in NAMES]


def scaled(frames, *, energy=1.0, force=1.0):
    for frame in frames:
        frame.info["dft_energy"] *= energy
        frame.arrays["dft_forces"] *= force
    return frames


def check(frames, potential=None, limit=0.3):
    return unit_checks.check(frames, source="a.extxyz", limit=limit, potential=potential)


def refused(frames, match, potential=None):
    with pytest.raises(ValueError, match=match) as caught:
        check(frames, potential)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("a.extxyz: ")
    assert "units_are_true: true" in text


def test_right_labels_pass_and_the_check_that_was_not_made_is_named(frames, potential):
    assert labels.energy_force_ratio(frames)[0] is None
    (note,) = check(frames, potential)
    assert note == (
        "a.extxyz: too few pairs of near frames to check energies against the work of forces; "
        "compared with datasets/models/tio2-mg-li on 17 of 17 frames"
    )


@pytest.mark.parametrize("level", [1.05, 0.9, 1.2])
def test_labels_of_a_neighbouring_functional_pass(frames, potential, level):
    for frame in scaled(frames, energy=level, force=level):
        frame.info["dft_energy"] -= 3.0 * len(frame)
    assert len(check(frames, potential)) == 1


@pytest.mark.parametrize("factor", [1 / HARTREE_EV, 2 / HARTREE_EV, -1.0, 0.0])
def test_energies_too_small_for_bound_atoms(frames, potential, factor):
    refused(
        scaled(frames, energy=factor),
        r"frame 0 \(001_11_Li_ah00\): energy is -?\d+\.\d+ eV/atom, below -1\.61",
        potential,
    )


@pytest.mark.parametrize(
    ("factor", "hint"),
    [
        (1 / FORCE, "look like Hartree/Bohr: multiply by 51.4221"),
        (2 / FORCE, "look like Rydberg/Bohr: multiply by 25.7110"),
        (1 / HARTREE_EV, "Hartree/Angstrom"),
        (2 / HARTREE_EV, "Rydberg/Angstrom"),
        (BOHR_ANGSTROM, "eV/Bohr"),
        (23.06, "kcal/mol"),
        (96.49, "kJ/mol"),
        (FORCE, "eV/Angstrom already, not Hartree/Bohr"),
        (-1.0, "look like the negative of forces"),
        (-1 / FORCE, "check unit and sign"),
        (2.0, "check unit and sign"),
    ],
)
def test_forces_of_another_unit_or_sign(frames, potential, factor, hint):
    with pytest.raises(
        ValueError, match=r"all frames: forces are -?[\d.e+-]+ times those of .*correlation -?1\.00"
    ) as caught:
        check(scaled(frames, force=factor), potential)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("factor", "hint"),
    [
        (1 / HARTREE_EV, "Hartree"),
        (2 / HARTREE_EV, "Rydberg"),
        (23.06, "kcal/mol"),
        (96.49, "kJ/mol"),
        (27.21, "eV already"),
    ],
)
def test_energies_that_count_from_nuclei_in_another_unit(frames, potential, factor, hint):
    """Energies of hundreds of eV an atom are in no table; their differences tell."""
    for frame in frames:
        frame.info["dft_energy"] = factor * (frame.info["dft_energy"] - 800.0 * len(frame))
    refused(frames, f"differences of energies of one composition are .* times those of .*{hint}", potential)


def test_energies_that_count_from_nuclei_are_right(frames, potential):
    for frame in frames:
        frame.info["dft_energy"] -= 800.0 * len(frame)
    assert len(check(frames, potential)) == 1


@pytest.mark.parametrize("factor", [-1.0, 1 / FORCE, 2 / FORCE])
def test_one_frame_of_another_unit_or_sign_is_named(frames, potential, factor):
    scaled(frames[4:5], force=factor)
    refused(frames, r"frame 4 \(bulk1_clean_ah01\): forces are .* times those of", potential)


def test_relaxed_frames_of_which_a_potential_knows_too_little_are_said(frames, potential):
    rng = np.random.default_rng(1)
    for frame in frames:
        frame.arrays["dft_forces"] = rng.normal(0, 0.02, frame.positions.shape)
        frame.info["dft_energy"] = -8.0 * len(frame)
    notes = check(frames, potential)
    assert any("too little to check their unit" in n for n in notes)
    assert any("could not be checked against bonds" in n for n in notes)
    assert any("differences of energies could not be compared" in n for n in notes)


# -- elements that no potential knows ----------------------------------------------------------------------------------


def metal(name="Cu", amplitude=0.1, sign=1.0, count=6):
    made = []
    for seed in range(count):
        atoms = bulk(name, cubic=True) * (2, 2, 2)
        atoms.rattle(amplitude, seed=seed)
        atoms.calc = EMT()
        atoms.info = {"frame_id": f"f{seed}", "dft_energy": atoms.get_potential_energy() - 3.5 * len(atoms)}
        atoms.arrays["dft_forces"] = sign * atoms.get_forces()
        atoms.calc = None
        made.append(atoms)
    return made


def test_springs_of_exact_bonds_are_recovered():
    chain = bulk("Cu", cubic=True) * (2, 2, 2)
    chain.rattle(0.02, seed=1)
    first, bond, distance = unit_checks.neighbor_list("iDd", chain, [1.25 * 1.32] * len(chain))
    pull = np.zeros((len(chain), 3))
    np.add.at(pull, first, (2.5 * (distance - distance.mean()) / distance)[:, None] * bond)
    chain.arrays["dft_forces"] = pull
    stiffness, alike, length = unit_checks.springs([chain])
    assert_allclose([stiffness, alike, length], [2.5, 1.0, distance.mean()], rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", ["Cu", "Al", "Pt"])
def test_unknown_elements_are_said_and_pass(name, potential):
    (note,) = check(metal(name, count=3), potential)
    assert "too few pairs of near frames" in note
    assert note.endswith("; no potential here knows all elements: compared with bonds")


def test_wrong_sign_of_unknown_elements():
    refused(metal(sign=-1.0), "forces pull where bonds are too short .*: the sign is wrong")


@pytest.mark.parametrize("unit", [1 / FORCE, 2 / FORCE])
def test_soft_bonds_of_unknown_elements_are_said(unit):
    assert any("Hartree/Bohr or Rydberg/Bohr; check" in n for n in check(metal("Al", sign=unit)))


@pytest.mark.parametrize("unit", [23.06, 96.49])
def test_stiff_bonds_of_unknown_elements_are_said(unit):
    assert any("kcal/mol or kJ/mol; check" in n for n in check(metal(sign=unit)))


def test_few_energies_that_a_potential_gets_wrong_are_said(frames):
    """Two frames of each of two compositions have two differences: a factor between them is no unit."""
    few = [
        f for f in frames if f.info["frame_id"] in {"bulk1_Li_ah00", "bulk1_Li_ah01", "bulk1_Mg_ah00", "bulk1_Mg_ah01"}
    ]
    found = [(0.5 * f.info["dft_energy"], f.arrays["dft_forces"]) for f in few]
    guess = unit_checks.Potential("guess", ("Ti", "O", "Li", "Mg"), lambda _: found)
    assert any("differences of energies could not be compared with guess" in n for n in check(few, guess))


def test_hartree_of_unknown_elements():
    refused(scaled(metal(), energy=1 / HARTREE_EV), r"below -1\.7\d is allowed .*: is it in Hartree")


def test_no_potential_at_all(frames):
    assert any("no potential here knows" in n for n in check(frames, None))


# -- parts -------------------------------------------------------------------------------------------------------------


def test_a_sample_holds_several_frames_of_a_composition_and_few_atoms(frames):
    every = extxyz.read_frames(tiny.DATA / "frames.extxyz")
    chosen = unit_checks.sample(every)
    assert chosen == sorted(set(chosen))
    assert sum(len(every[n]) for n in chosen) <= unit_checks.SAMPLE_ATOMS
    assert len(chosen) >= 20
    assert unit_checks.sample(every[-1:], atoms=1) == [0]
    assert unit_checks.sample(frames) == list(range(len(frames)))


def test_slope_and_correlation():
    x = np.array([1.0, -2.0, 3.0])
    assert_allclose(unit_checks.slope(-2.5 * x, x), [-2.5, -1.0], rtol=1e-12, atol=0)
    assert unit_checks.slope(x, np.zeros(3)) == unit_checks.slope(np.zeros(3), x) == (0.0, 0.0)
