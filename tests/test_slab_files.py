"""Slabs from files of the user: what is frozen there stays where it is, from the file to the band."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.constraints import FixAtoms, FixScaled
from ase.geometry import find_mic
from ase.io import write
from helpers import tiny
from helpers.lattice_potential import OxidePotential
from numpy.testing import assert_allclose

import mlip
from mlip import config, driver
from mlip.atoms import extxyz, slab_files, structures
from mlip.atoms.slab_files import SlabFile
from mlip.atoms.structures import Facet
from mlip.core import files
from mlip.stages.neb.settings import NebSettings
from mlip.stages.sites import jobs, network, sites
from mlip.stages.sites.settings import SitesSettings
from mlip.stages.structures import STAGE as STRUCTURES
from mlip.stages.structures import StructuresSettings

LOOSE = SitesSettings(fmax_ev_per_angstrom=0.2, max_candidates=1, host_rattles=1, rattle_angstrom=0.005)


def slab(layers=3):
    """Anatase (001), the lower half frozen, away from its minimum as a slab of another potential is."""
    facet = Facet(name="001", miller=(0, 0, 1), layers=layers, repeat=(2, 2), vacuum_angstrom=12.0)
    made = structures.slab(structures.crystal("anatase"), facet, bond_angstrom=2.35)
    made.positions[made.positions[:, 2] > made.positions[:, 2].mean(), 2] += 0.05
    made.set_constraint(FixAtoms(np.flatnonzero(made.positions[:, 2] < made.positions[:, 2].mean() - 0.5)))
    return made


def held(atoms):
    return [int(k) for c in atoms.constraints for k in c.index]


@pytest.mark.parametrize("name", ["POSCAR", "mine.vasp", "mine.extxyz"])
def test_a_file_keeps_positions_and_frozen_atoms(name, tmp_path):
    own = slab()
    write(tmp_path / name, own, format="extxyz" if name.endswith("xyz") else "vasp")
    found = slab_files.load(tmp_path / name)
    assert held(found) == held(own) != []
    assert_allclose(found.positions, own.positions, rtol=0, atol=1e-7)
    assert found.pbc.all()


def test_a_turned_slab_comes_to_lie_in_the_plane(tmp_path):
    """A slab whose normal, its third cell vector, points along y."""
    own = slab()
    turn = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], float)
    turned = Atoms(own.symbols, positions=own.positions @ turn, cell=own.cell.array @ turn, pbc=True)
    write(tmp_path / "a.extxyz", turned)
    found = slab_files.load(tmp_path / "a.extxyz")
    assert_allclose(found.positions, own.positions, rtol=0, atol=1e-6)
    assert_allclose(found.cell.array, own.cell.array, rtol=0, atol=1e-6)


def tilted(own):
    own.set_cell([*own.cell.array[:2], own.cell.array[2] + [2.0, 0, 0]])


def crystal(own):
    own.set_cell([*own.cell.array[:2], [0, 0, np.ptp(own.positions[:, 2]) + 2.0]])


def cut(own):
    own.positions[:, 2] += own.cell[2, 2] / 2
    own.wrap()


def partly(own):
    own.set_constraint(FixScaled([0], mask=[False, False, True]))


def everything(own):
    own.set_constraint(FixAtoms(range(len(own))))


def touching(own):
    own.positions[1] = own.positions[0] + [0.5, 0, 0]


REFUSED = {
    tilted: "third cell vector is not along the normal",
    crystal: "has no vacuum of 8 Angstrom along its third cell vector",
    cut: "is cut in two by the face of its cell",
    partly: "constraint FixScaled: an atom is frozen in all three directions or in none",
    everything: "every atom is frozen",
    touching: "no slab of a crystal",
}


@pytest.mark.parametrize("change", REFUSED)
def test_what_is_no_slab_is_told(change, tmp_path):
    own = slab()
    change(own)
    write(tmp_path / "POSCAR", own, format="vasp")
    with pytest.raises(ValueError, match=f"POSCAR: .*{REFUSED[change]}"):
        slab_files.load(tmp_path / "POSCAR")


def test_files_that_cannot_be_read_are_told(tmp_path):
    (tmp_path / "POSCAR").write_text("nothing\n")
    (tmp_path / "slab.pdb").write_text("nothing\n")
    write(tmp_path / "two.extxyz", [slab(), slab()])
    for name, told in (
        ("POSCAR", "is not a readable vasp file"),
        ("slab.pdb", "is none of the formats of a slab"),
        ("two.extxyz", "holds 2 structures; give one slab"),
        ("absent.vasp", "no such file"),
    ):
        with pytest.raises(ValueError, match=f"{name}: {told}"):
            slab_files.load(tmp_path / name)


def test_a_run_takes_the_slab_and_names_stay_distinct(tmp_path):
    write(tmp_path / "POSCAR", slab(), format="vasp")
    settings = tiny.run_settings()
    own = {"name": "mine", "file": str(tmp_path / "POSCAR"), "miller": [0, 0, 1]}
    settings["structures"]["slabs"] = [own]
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings))
    run = driver.init(tmp_path / "c.yaml", tmp_path / "run")
    driver.run_stages(run.folder, ["structures"])
    hosts = files.read_result(run.folder / "structures" / "result.json", STRUCTURES.result).hosts
    assert [(h.name, h.frozen) for h in hosts] == [("bulk", 0), ("001", 0), ("mine", len(held(slab())))]
    assert held(extxyz.read_frames(run.folder / "structures" / "mine.extxyz")[0]) == held(slab())
    settings["structures"]["slabs"] = [own | {"name": "001"}]
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(ValueError, match="names must differ from each other"):
        config.load(tmp_path / "c.yaml")


@pytest.fixture
def settings(tmp_path):
    """A run on anatase with one slab of a file at (001) and nothing else."""
    own = SlabFile(name="mine", file=str(tmp_path / "POSCAR"), miller=(0, 0, 1))
    return StructuresSettings(bulk_repeat=(1, 1, 1), facets=(), slabs=(own,))


def built(settings, folder):
    """Notes of the stage."""
    said = []
    STRUCTURES.run(SimpleNamespace(settings=settings, folder=folder / "structures", say=said.append))
    return [line for line in said if line.startswith("slab ")]


def slab_of(crystal, miller, repeat=(2, 2), vacuum=12.0):
    facet = Facet(name="x", miller=miller, layers=4, repeat=repeat, vacuum_angstrom=vacuum)
    return structures.slab(crystal, facet, bond_angstrom=2.35)


@pytest.mark.parametrize(
    "own",
    [
        bulk("MgO", "rocksalt", a=4.2, cubic=True).repeat((2, 2, 2)),
        slab() + Atoms("Li", positions=[(1.9, 1.9, 14.0)]),
        slab()[1:],
    ],
    ids=["crystal", "ion", "vacancy"],
)
def test_a_slab_of_another_composition_is_refused(own, tmp_path, settings):
    """Such a slab would be compared with the published values of the run's crystal."""
    own.set_constraint()
    own.center(vacuum=6.0, axis=2)
    write(tmp_path / "POSCAR", own, format="vasp", sort=True)
    told = r"POSCAR: \S+ has not the composition of structures.crystal \(TiO2\): give a clean slab of this crystal"
    with pytest.raises(ValueError, match=told):
        built(settings, tmp_path)


def test_a_slab_that_does_not_fit_the_plane_is_noted(tmp_path, settings):
    rutile = structures.crystal(str(tiny.REPOSITORY / "datasets" / "crystals" / "tio2-rutile.cif"))
    anatase = structures.crystal("anatase")
    for own, differs in (
        (slab_of(rutile, (1, 1, 0)), "more than 15 %"),
        (slab_of(anatase, (1, 0, 0)), "2 %"),  # two cells of (100) in c are five of (001): not told apart
        (slab_of(anatase, (1, 0, 1), (1, 1)), "9 %"),
        (slab_of(anatase, (0, 0, 1)), "0 %"),
    ):
        write(tmp_path / "POSCAR", own, format="vasp")
        told = rf"slab mine: its in-plane cell differs by {differs} from whole cells of \(0, 0, 1\) of the crystal"
        notes = built(settings, tmp_path)
        assert len(notes) == (differs not in {"0 %", "2 %"})
        assert all(re.match(told, note) for note in notes), notes


def test_the_strain_of_a_slab_does_not_depend_on_its_cell():
    """A (001) slab, 5 % longer along x and 2 % along y, in a cell turned by 45 degrees and in an oblique one."""
    crystal = structures.crystal("anatase")
    own = slab_of(crystal, (0, 0, 1), (1, 1))
    own.set_cell(own.cell.array * [[1.05], [1.02], [1.0]], scale_atoms=True)
    for whole in (np.eye(3), [[1, 1, 0], [-1, 1, 0], [0, 0, 1]], [[2, 1, 0], [-1, 3, 0], [0, 0, 1]]):
        made = make_supercell(own, whole)
        made.set_cell(made.cell.standard_form()[0], scale_atoms=True)
        assert_allclose(slab_files.strain(made, crystal, (0, 0, 1)), 0.05, rtol=1e-6, atol=0)
    own.set_cell(own.cell.array * [[1.15], [1.0], [1.0]], scale_atoms=True)
    assert slab_files.strain(own, crystal, (0, 0, 1)) is None


def test_frozen_atoms_stay_through_relaxation_sites_hops_and_band(tmp_path):
    host, calculator = slab(), OxidePotential()
    fixed, free = held(host), sorted(set(range(len(host))) - set(held(host)))
    relaxed = sites.host_relaxed(host, calculator, LOOSE, seed=1)
    assert held(relaxed) == fixed
    assert_allclose(relaxed.positions[fixed], host.positions[fixed], rtol=0, atol=0)
    assert np.abs(relaxed.positions[free] - host.positions[free]).max() > 0.02
    found, occupied = sites.relaxed_sites(relaxed, "Li", calculator, LOOSE, name="mine", metal_symbols=["Ti"], seed=1)
    usable = [s for s in found if s.status.code == sites.RELAXED]
    hops = network.hop_network(relaxed, usable, occupied, LOOSE, registry=False)
    assert usable
    whole = [(a, b) for _, a, b in hops if find_mic(b.positions[-1] - a.positions[-1], a.cell)[1] > 1.0]
    initial, final = whole[0]  # not those to the own copy of the ion in a small cell
    for number, atoms in enumerate((initial, final)):
        files.write_frames(tmp_path / f"{number}.extxyz", [jobs._bare(atoms, relaxed)])
    initial, final = (extxyz.read_frames(tmp_path / f"{k}.extxyz")[0] for k in (0, 1))
    settings = NebSettings(images=3, max_steps=3, end_max_steps=3, end_fmax_ev_per_angstrom=5.0)
    _, images = mlip.band(initial, final, calculator, settings=settings)
    for image in images:
        assert held(image) == fixed
        assert_allclose(image.positions[fixed], host.positions[fixed], rtol=0, atol=1e-7)
