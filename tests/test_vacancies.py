"""Hops of ions of the crystal by vacancies: known neighbours, equal energies of equivalent ends, one order of atoms."""

import re
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from helpers.crystal_springs import Lattice
from helpers.lattice_potential import OxidePotential
from numpy.testing import assert_allclose

import mlip
from mlip.atoms import crystals, structures
from mlip.atoms.ends import unwrapped
from mlip.atoms.structures import Facet
from mlip.stages.neb import neb
from mlip.stages.neb.settings import NebSettings
from mlip.stages.sites import sites, vacancies
from mlip.stages.sites.settings import SitesSettings

DATA = Path(__file__).parent / "data" / "crystals" / "battery"
SETTINGS = SitesSettings(fmax_ev_per_angstrom=0.002, rattle_angstrom=0.001)


def found(host, ion, **settings):
    chosen = SETTINGS.model_copy(update=settings)
    calculator = Lattice(host)
    relaxed = sites.host_relaxed(host, calculator, chosen, seed=1)
    own, parts = vacancies.relaxed_vacancies(relaxed, ion, calculator, chosen)
    return own, vacancies.vacancy_hops(relaxed, own, parts, chosen, name="bulk"), calculator


def lifepo4(repeat=(1, 2, 1)):
    return structures.bulk(crystals.load(DATA / "lifepo4.cif").atoms, repeat)


def test_lifepo4_hops_along_its_channel():
    """All Li are one orbit; the nearest Li is b/2 away along [010], with two of them; the next at 4.66 A along others."""
    own, hops, _ = found(lifepo4(), "Li")
    assert [(v.name, len(v.equivalent), v.status.code) for v in own] == [("Li1", 8, sites.RELAXED)]
    assert [(h.initial, h.final, h.along, h.multiplicity, h.symmetric) for h, *_ in hops] == [
        ("Li1", "Li1", "b", 2, True)
    ]
    assert re.fullmatch(r"bulk_Li1-Li1_3\.0[01]", hops[0][0].name)
    assert_allclose(hops[0][0].length_angstrom, 6.010 / 2, rtol=0, atol=0.01)


def test_longer_hops_come_with_a_longer_limit():
    _, hops, _ = found(lifepo4((1, 2, 2)), "Li", max_hop_angstrom=5.8, blocked_angstrom=0.3)
    lengths = [hop.length_angstrom for hop, *_ in hops]
    assert_allclose(lengths[0], 3.005, rtol=0, atol=0.01)
    assert len(lengths) > 1
    assert min(abs(x - 4.692) for x in lengths) < 0.02  # along c
    assert all(abs(x - 6.01) > 0.1 for x in lengths)


def test_layered_oxides_hop_in_the_plane_only():
    """LiCoO2 and NaFeO2: six neighbours at a, all equivalent."""
    for name, ion, a in (("licoo2", "Li", 2.8161), ("nafeo2", "Na", 3.022)):
        host = structures.bulk(crystals.load(DATA / f"{name}.cif").atoms, (3, 3, 1))
        own, hops, _ = found(host, ion)
        assert len(own) == 1
        assert [(hop.multiplicity, hop.symmetric) for hop, *_ in hops] == [(6, True)]
        assert_allclose(hops[0][0].length_angstrom, a, rtol=0, atol=0.01)


def test_oxygen_vacancies_of_rutile_have_several_hops():
    host = structures.bulk(crystals.load(DATA / "tio2-rutile.cif").atoms, (2, 2, 3))
    own, hops, _ = found(host, "O", max_hop_angstrom=3.2)
    assert len(own) == 1
    lengths = [hop.length_angstrom for hop, *_ in hops]
    expected = [2.536, 2.780, 2.959]  # the shared edge, the octahedron, along c
    for value in expected:
        assert min(abs(x - value) for x in lengths) < 0.03, lengths


def test_equivalent_ends_have_equal_energies_and_no_forces():
    _, hops, calculator = found(lifepo4(), "Li")
    energies = []
    for atoms in hops[0][1:]:
        copy = atoms.copy()
        copy.calc = calculator
        energies.append(copy.get_potential_energy())
        assert np.linalg.norm(copy.get_forces(), axis=1).max() < 0.01
    assert_allclose(energies[1] - energies[0], 0.0, rtol=0, atol=1e-3)


def test_both_ends_are_one_vacancy_and_the_last_atom_goes_into_it():
    host = lifepo4()
    _, hops, _ = found(host, "Li")
    hop, initial, final = hops[0]
    assert len(initial) == len(final) == len(host) - 1
    assert initial.get_chemical_symbols() == final.get_chemical_symbols()
    moves = unwrapped(initial, final).positions - initial.positions
    assert_allclose(moves[-1], -np.array(hop.vector_angstrom), rtol=0, atol=0.15)
    assert np.linalg.norm(moves[:-1], axis=1).max() < 0.3
    assert np.abs(initial.positions[:-1] - final.positions[:-1]).max() > 1e-3  # neighbours lean to the vacancy


def test_an_ion_that_is_not_there_is_told():
    with pytest.raises(ValueError, match="holds 0 Na; a vacancy exchanges with another one"):
        found(lifepo4(), "Na")
    with pytest.raises(ValueError, match="holds 1 Mg; a vacancy exchanges with another one"):
        found(bulk("MgO", "rocksalt", a=4.21), "Mg")


def test_it_is_one_call_from_python_and_the_ends_make_a_band():
    host = lifepo4()
    calculator = Lattice(host)
    hops = mlip.find_vacancy_hops(host, "Li", calculator, settings=SETTINGS)
    assert len(hops) == 1
    _, initial, final = hops[0]
    _, images = mlip.band(initial, final, calculator, settings=NebSettings(images=3, max_steps=2))
    assert len(images) == 5
    energies = [image.get_potential_energy() for image in images]
    assert max(energies) > energies[0] + 1.0


def test_on_a_slab_only_ions_near_the_top_leave():
    crystal = crystals.load(DATA / "mgo.cif").atoms
    host = structures.slab(crystal, Facet(name="100", miller=(1, 0, 0), layers=4, repeat=(2, 2)), bond_angstrom=2.3)
    own, hops, _ = found(host, "Mg", depth_angstrom=2.5)
    top = host.positions[:, 2].max()
    heights = [top - host.positions[k, 2] for vacancy in own for k in vacancy.equivalent]
    assert len(own) == 2  # of the first and of the second plane
    assert max(heights) < 2.6
    assert {(hop.initial, hop.final) for hop, *_ in hops} >= {("Mg1", "Mg1")}
    assert all(abs(hop.length_angstrom - 4.212 / np.sqrt(2)) < 0.05 for hop, *_ in hops)


def test_a_band_of_an_oxygen_vacancy_in_rutile_is_the_same_in_both_directions():
    host, calculator = structures.bulk(crystals.load(DATA / "tio2-rutile.cif").atoms, (2, 2, 3)), OxidePotential()
    hops = mlip.find_vacancy_hops(host, "O", calculator, settings=SitesSettings(max_hop_angstrom=2.7))
    ((hop, initial, final),) = hops
    assert (hop.multiplicity, hop.symmetric) == (1, True)  # along the shared edge
    band, _ = mlip.band(initial, final, calculator, settings=NebSettings(images=3))
    assert band.status.code == neb.CONVERGED
    assert_allclose(band.forward_ev, band.reverse_ev, rtol=0, atol=2e-3)
    assert band.forward_ev > 0.5
