"""Bookkeeping of reference energies, with labels of known energy."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.morse import MorsePotential
from numpy.testing import assert_allclose

from mlip.atoms import dispersion
from mlip.atoms.extxyz import with_labels
from mlip.atoms.structures import Facet
from mlip.core.status import CALCULATED, Status
from mlip.core.units import joule_per_m2
from mlip.dft import engines
from mlip.stages.energetics import energetics, lattice
from mlip.stages.energetics.settings import EnergeticsSettings

SETTINGS = EnergeticsSettings()
MORSE = {"epsilon": 0.2, "r0": 3.22, "rho0": 7.0, "rcut1": 1.6, "rcut2": 2.0}


def label(frame, energy_ev, forces=None):
    """A labelled frame whose free energy lies below the extrapolated one, which counts here."""
    info = frame.info | {"dft_energy_extrapolated": energy_ev}
    zero = np.zeros((len(frame), 3)) if forces is None else forces
    return with_labels(frame, energy_ev=energy_ev - 0.01, forces=zero, info=info)


class Known:
    """Labels by a function of a frame's name; remembers what was asked."""

    def __init__(self, energy):
        self.energy, self.changes, self.frames = energy, [], []

    def __call__(self, frames, changes):
        self.changes.append(dict(changes))
        self.frames += frames
        found = [(frame, self.energy(frame)) for frame in frames]
        return tuple(None if e is None else label(frame, e) for frame, e in found)


def alone(symbol, energy_ev):
    return energetics.Atom(symbol=symbol, energy_ev=energy_ev, moment_bohr=0.0, status=Status(CALCULATED))


def elemental(symbol, energy_ev, d3_ev=0.0):
    return energetics.Metal(
        symbol=symbol,
        structure="bcc",
        lattice=None,
        energy_ev=energy_ev,
        d3_ev=d3_ev,
        cohesive_ev=None,
        cohesive_d3_ev=None,
        status=Status(CALCULATED),
    )


def occupied(ion="Mg"):
    clean = Atoms("TiO2", positions=[[0, 0, 5], [2, 0, 5], [0, 2, 5]], cell=[4, 4, 20], pbc=True)
    covered = clean + Atoms(ion, positions=[[1.5, 1.5, 7.0]])
    return energetics.Occupied("001", ion, "S1", vacuum=True, clean=clean, covered=covered)


# voltages: physics of the paper under check, -2.144 eV (Mg) and -1.865 eV (Li) against the metal


def test_voltages_of_published_adsorption_energies():
    assert_allclose(energetics.voltage(-2.144, 2), 1.072, rtol=1e-9, atol=0)
    assert_allclose(energetics.voltage(-1.865, 1, own_v=-3.040, other_v=-2.372), 1.197, rtol=1e-9, atol=0)


@pytest.mark.parametrize(("ion", "metal_ev", "charge", "volt"), [("Mg", -2.144, 2, 1.072), ("Li", -1.865, 1, 1.865)])
def test_adsorption_against_atom_and_metal(ion, metal_ev, charge, volt):
    """E(host) = -50, metal -1.5 per atom, atom 0.1: the sums are exact."""
    place = occupied(ion)
    ask = Known(lambda f: -50.0 if f.info["ion"] == "none" else -50.0 - 1.5 + metal_ev)
    d3 = dispersion.d3(place.covered)[0] - dispersion.d3(place.clean)[0]
    found = energetics.adsorption(place, ask, alone=alone(ion, 0.1), elemental=elemental(ion, -1.5, d3_ev=-0.2))
    assert_allclose(found.metal_ev, metal_ev, rtol=1e-9, atol=0)
    assert_allclose(found.atom_ev, metal_ev - 1.6, rtol=1e-9, atol=0)
    assert_allclose(found.atom_d3_ev - found.atom_ev, d3, rtol=1e-4, atol=0)
    assert_allclose(found.metal_d3_ev - found.metal_ev, d3 + 0.2, rtol=1e-4, atol=0)
    assert found.charge == charge
    assert_allclose((found.metal_per_electron_ev, found.voltage_v), (metal_ev / charge, volt), rtol=1e-9, atol=0)
    assert found.status.code == "calculated"
    assert [f.info["vacuum"] for f in ask.frames] == [True, True]
    assert ask.changes == [{}]


def test_the_potential_is_held_against_the_same_metal():
    """At its own level: the D3 of the metal counts where the potential has D3."""
    ask, metal = Known(lambda _: None), elemental("Mg", -1.5, d3_ev=-0.2)
    for target, expected in (("pbe", -1.9), ("pbe-d3", -1.7)):
        found = energetics.adsorption(occupied(), ask, alone=None, elemental=metal, potential_ev=-3.4, target=target)
        assert_allclose(found.potential_metal_ev, expected, rtol=1e-9, atol=0)
        assert found.metal_ev is None
    assert (
        energetics.adsorption(occupied(), ask, alone=None, elemental=None, potential_ev=-3.4).potential_metal_ev is None
    )


def test_adsorption_says_what_it_lacks():
    ask = Known(lambda f: None if f.info["ion"] == "none" else -51.0)
    found = energetics.adsorption(occupied(), ask, alone=None, elemental=elemental("Mg", -1.5))
    assert found.status.detail == "no label of the clean host, the atom"
    assert (found.atom_ev, found.metal_ev, found.metal_d3_ev, found.voltage_v) == (None,) * 4
    without = energetics.adsorption(occupied(), Known(lambda _: -50.0), alone=alone("Mg", 0.0), elemental=None)
    assert without.status.detail == "no label of the metal"
    assert without.atom_ev == 0.0
    assert without.metal_ev is None


# atoms and metals


def test_lithium_atom_is_spin_polarised_and_magnesium_is_not():
    ask = Known(lambda f: -0.2)
    assert energetics.atom("Li", ask, SETTINGS).energy_ev == -0.2
    assert energetics.atom("Mg", ask, SETTINGS).moment_bohr == 0.0
    assert ask.changes[0] == {"k_length_angstrom": 1.0, "spin": "polarised", "moments_bohr": {"Li": 1.0}}
    assert ask.changes[1] == {"k_length_angstrom": 1.0}
    assert len(set(ask.frames[0].cell.lengths().round(6))) == 3  # no level is degenerate by symmetry
    failed = energetics.atom("Li", Known(lambda _: None), SETTINGS)
    assert (failed.energy_ev, str(failed.status)) == (None, "not calculated")


def morse(frames, changes):
    """Labels by a Morse potential; hcp and bcc crystals have a minimum near its r0."""
    out = []
    for frame in frames:
        own = frame.copy()
        own.calc = MorsePotential(**MORSE)
        out.append(label(frame, own.get_potential_energy(), own.get_forces()))
    return tuple(out)


def test_cohesive_energy_of_a_metal_with_a_known_minimum():
    found = energetics.metal("Mg", morse, SETTINGS, alone=alone("Mg", 0.0))
    assert (found.structure, str(found.status)) == ("hcp", "calculated")
    cell = lattice.at(lattice.space(_hcp()), found.lattice.point)
    cell.calc = MorsePotential(**MORSE)
    assert_allclose(found.energy_ev, cell.get_potential_energy() / 2, rtol=1e-5, atol=0)
    assert np.abs(cell.get_stress()).max() < 2e-4  # eV/A^3: the fit found the minimum
    assert_allclose(found.cohesive_ev, -found.energy_ev, rtol=1e-12, atol=0)
    assert_allclose(found.d3_ev, dispersion.d3(cell)[0] / 2, rtol=1e-9, atol=0)
    assert_allclose(found.cohesive_d3_ev - found.cohesive_ev, -found.d3_ev, rtol=1e-9, atol=0)


def _hcp():
    from ase.build import bulk

    return bulk("Mg")


def test_cells_of_one_fit_have_one_mesh_that_of_the_smallest():
    """Li at 40 Angstrom: alone, the cell of the largest strain would have 16 points instead of 17."""
    ask = Known(lambda _: None)
    energetics.metal("Li", ask, SETTINGS, alone=None)
    length = SETTINGS.metal_settings["k_length_angstrom"]
    assert {engines.length_mesh(frame, length) for frame in ask.frames} == {(17, 17, 17)}
    for frame in ask.frames:
        del frame.info[engines.FACES]
    assert {engines.length_mesh(frame, length) for frame in ask.frames} == {(16, 16, 16), (17, 17, 17)}


def test_a_shared_mesh_is_as_dense_as_that_of_every_cell_along_every_vector():
    frames = [Atoms("Mg", cell=cell, pbc=True) for cell in ([4.0, 4.1, 6.1], [4.1, 4.1, 5.9])]
    assert [engines.length_mesh(f, 12.1) for f in frames] == [(4, 3, 2), (3, 3, 3)]
    engines.share_mesh(frames)
    assert [engines.length_mesh(f, 12.1) for f in frames] == [(4, 3, 3)] * 2


def test_metal_without_its_atom_has_no_cohesive_energy():
    found = energetics.metal("Mg", morse, SETTINGS, alone=None)
    assert found.energy_ev is not None
    assert (found.cohesive_ev, found.cohesive_d3_ev) == (None, None)


@pytest.mark.parametrize(
    ("symbol", "ask", "status"),
    [
        ("Mn", morse, "not calculated: cubic is no simple metal"),
        ("Mg", Known(lambda f: None), "not calculated: 13 of 13 cells have no label"),
        ("K", morse, "not calculated: the energy has no minimum among the sampled cells"),
    ],
)
def test_metal_without_a_lattice_says_why(symbol, ask, status):
    found = energetics.metal(symbol, ask, SETTINGS, alone=alone(symbol, 0.0))
    assert str(found.status).startswith(status)
    assert (found.energy_ev, found.cohesive_ev, found.lattice) == (None, None, None)


def iron(moment_bohr):
    """Labels of bcc iron of 11.4 A^3 per atom with a moment."""

    def ask(frames, changes):
        assert changes["spin"] == "polarised"
        made = [label(f, -8.9 + 10 * np.log(f.get_volume() / 11.4) ** 2) for f in frames]
        for one in made:
            one.info["magnetic_moment_bohr"] = moment_bohr
        return made

    return ask


@pytest.mark.parametrize(("symbol", "moment"), [("Fe", 2.3), ("Co", 1.7), ("Ni", 0.7)])
def test_a_ferromagnetic_metal_is_spin_polarised_as_its_atom_is(symbol, moment):
    """Spin-paired, GPAW has Fe, Co and Ni 0.59, 0.25 and 0.05 eV per atom too high (PBE)."""
    ask = Known(lambda _: None)
    energetics.metal(symbol, ask, SETTINGS, alone=None)
    assert ask.changes == [SETTINGS.metal_settings | {"spin": "polarised", "moments_bohr": {symbol: moment}}]


def test_a_starting_moment_of_the_settings_counts_and_other_metals_stay_as_they_are():
    ask, own = Known(lambda _: None), {"k_length_angstrom": 40.0, "spin": "polarised", "moments_bohr": {"Ni": 1.0}}
    for symbol in ("Ni", "Fe", "Mg"):
        energetics.metal(symbol, ask, EnergeticsSettings(metal_settings=own), alone=None)
    assert ask.changes == [own, own | {"moments_bohr": {"Fe": 2.3, "Ni": 1.0}}, own]
    plain = Known(lambda _: None)
    energetics.metal("Li", plain, SETTINGS, alone=None)
    assert plain.changes == [SETTINGS.metal_settings]


def test_a_ferromagnet_that_loses_its_moment_is_a_status():
    kept = energetics.metal("Fe", iron(-2.2), SETTINGS, alone=alone("Fe", -3.5))  # the sign of a moment has no meaning
    assert_allclose((kept.energy_ev, kept.cohesive_ev), (-8.9, 5.4), rtol=1e-6, atol=0)
    lost = energetics.metal("Fe", iron(0.01), SETTINGS, alone=alone("Fe", -3.5))
    assert str(lost.status).startswith("not calculated: 5 of 5 cells have a moment below 1.15 Bohr magnetons per atom")
    assert (lost.energy_ev, lost.cohesive_ev) == (None, None)


@pytest.mark.parametrize("symbol", ["Cr", "Ce", "Gd", "Tm"])
def test_a_metal_of_another_magnetic_order_is_a_status(symbol):
    ask = Known(lambda _: -9.0)
    found = energetics.metal(symbol, ask, SETTINGS, alone=alone(symbol, 0.0))
    assert found.status.reason == f"{symbol} is magnetic, and of the magnetic metals only Fe, Co, Ni are calculated"
    assert (found.energy_ev, ask.frames) == (None, [])


def test_a_crystal_with_free_angles_has_a_status_and_no_label_is_asked_for():
    skew = Atoms("TiO2", scaled_positions=[[0, 0, 0], [0.2, 0.3, 0.1], [0.8, 0.7, 0.9]], cell=[4, 5, 6, 80, 95, 70])
    ask = Known(lambda _: -50.0)
    found, status = energetics.crystal(skew, "crystal_skew", ask, SETTINGS, changes={})
    assert found is None
    assert str(status).startswith("not calculated: O2Ti: angles of the cell are free (its symmetry allows 6 strains)")
    assert ask.frames == []


# surfaces


def test_surface_energy_counts_both_faces():
    """Two formula units in the slab, one in the bulk cell: gamma = (E_slab - 2 E_bulk) / 2A."""
    bulk_cell = Atoms("TiO2", positions=[[0, 0, 0], [2, 0, 0], [0, 2, 0]], cell=[4, 4, 4], pbc=True)
    slab = bulk_cell.repeat((1, 1, 2))
    slab.set_cell([[4, 0, 0], [1, 5, 0], [0, 0, 23]])
    ask = Known(lambda f: -50.0 if f.info["host"] == "bulk" else -98.0)
    found = energetics.surface(slab, bulk_cell, ask, name="001", layers=2, relaxed_by="the potential")
    assert_allclose(found.area_angstrom2, 20.0, rtol=1e-12, atol=0)
    assert_allclose(found.pbe_j_per_m2, joule_per_m2(2.0, 40.0), rtol=1e-9, atol=0)
    d3 = dispersion.d3(slab)[0] - 2 * dispersion.d3(bulk_cell)[0]
    assert_allclose(found.d3_j_per_m2 - found.pbe_j_per_m2, joule_per_m2(d3, 40.0), rtol=1e-5, atol=0)
    lacking = energetics.surface(slab, bulk_cell, Known(lambda f: None), name="001", layers=2, relaxed_by="DFT")
    assert (lacking.pbe_j_per_m2, str(lacking.status)) == (None, "not calculated")


def test_relaxation_on_labels_ends_in_the_minimum():
    pair = Atoms("Mg2", positions=[[5, 5, 5], [5, 5, 8.4]], cell=[12, 12, 14], pbc=True)
    relax = energetics.relaxed_by_labels(morse, fmax_ev_per_angstrom=0.005, name="pair", vacuum=False)
    found = relax(pair)
    assert_allclose(found.get_distance(0, 1), 3.22, rtol=0.01, atol=0)
    assert_allclose(pair.get_distance(0, 1), 3.4, rtol=1e-9, atol=0)
    stuck = energetics.relaxed_by_labels(morse, fmax_ev_per_angstrom=1e-9, name="pair", vacuum=False, max_steps=2)
    with pytest.raises(ValueError, match="pair: not relaxed to 1e-09 eV/Angstrom in 2 steps"):
        stuck(pair)
    nothing = energetics.relaxed_by_labels(Known(lambda f: None), fmax_ev_per_angstrom=0.01, name="pair", vacuum=False)
    with pytest.raises(ValueError, match="a step of the relaxation has no label"):
        nothing(pair)


def test_labels_as_a_calculator_are_asked_for_once_per_structure():
    asked = []

    def ask(frames, changes):
        asked.append((frames[0].info["frame_id"], dict(changes)))
        return morse(frames, changes)

    pair = Atoms("Mg2", positions=[[5, 5, 5], [5, 5, 8.4]], cell=[12, 12, 14], pbc=True)
    (label,) = morse([energetics.named(pair, "x", host="x")], {})
    pair.calc = energetics.LabelCalculator(ask, name="pair", vacuum=False)
    assert_allclose(pair.get_forces(), label.arrays["dft_forces"], rtol=1e-12, atol=0)
    energies = [pair.get_potential_energy(), pair.get_potential_energy(force_consistent=True)]
    assert_allclose(energies, label.info["dft_energy"], rtol=1e-12, atol=0)
    assert asked == [("pair", {})]
    pair.positions[0, 2] += 0.1
    assert abs(pair.get_forces()[0, 2] - label.arrays["dft_forces"][0, 2]) > 1e-3
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"box_angstrom": (10.0, 10.0, 11.0)}, "box_angstrom: .* has equal edges"),
        ({"surfaces": (Facet(name="bulk", miller=(0, 0, 1)),)}, "names must differ .* from 'bulk'"),
        ({"parts": ("phonons",)}, "parts"),
    ],
)
def test_settings_that_make_no_sense(changes, message):
    with pytest.raises(ValueError, match=message):
        EnergeticsSettings(**changes)
