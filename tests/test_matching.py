"""References, labels and names of hops belong to a crystal and a plane, whatever these are called."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from ase import Atoms
from ase.spacegroup import crystal as build
from helpers.material import FOLDER, SETTINGS, host, material, render, results

from mlip.atoms import crystals, structures
from mlip.atoms import planes as of_planes
from mlip.atoms.structures import Facet
from mlip.literature import audit, matching, references
from mlip.stages.dataset.card import LabelledPath, labels_fit
from mlip.stages.diffusion import figures
from mlip.stages.report import page, tables
from mlip.stages.report.energies import energies_section
from mlip.stages.report.given import Given

PLANES = {"bulk": None, "001": (0, 0, 1), "100": (1, 0, 0)}
ANATASE = structures.crystal("anatase")
CASSITERITE = build(
    ["Sn", "O"], [(0, 0, 0), (0.3056, 0.3056, 0)], spacegroup=136, cellpar=[4.737, 4.737, 3.186, 90, 90, 90]
)
BATTERY = Path(__file__).parent / "data" / "crystals" / "battery"
ALL = ("LiCoO2", "LiFePO4", "anatase TiO2", "rutile TiO2")
SURFACES = tuple(Facet(name=n, miller=m) for n, m in {"101": (1, 0, 1), "001": (0, 0, 1), "100": (1, 0, 0)}.items())


def hosts(**planes):
    return tuple(replace(host(name), miller=miller) for name, miller in planes.items())


@pytest.fixture(scope="module")
def shipped():
    return references.load(FOLDER)


def of(shipped, atoms, planes=None, surfaces=SURFACES):
    found = hosts(**(planes or PLANES))
    return matching.of_run(shipped, crystals.identify(atoms), hosts=found, surfaces=surfaces)


def test_anatase_keeps_every_row_of_its_report(shipped):
    own = of(shipped, ANATASE)
    anatase = [v for v in shipped.values if v.crystal.name == "anatase TiO2"]
    assert [v.id for v in own.values] == [v.id for v in anatase]
    assert all(one.host in {None, two.host} for one, two in zip(anatase, own.values, strict=True))
    assert own.sources == shipped.sources
    assert own.not_stated == shipped.not_stated
    assert tables.rows(results(), own, SETTINGS) == tables.rows(results(), shipped, SETTINGS)
    assert energies_section(None, own) == energies_section(None, shipped)
    assert audit.findings(own) == audit.findings(shipped)
    for place in ("001", "100", "bulk"):
        assert figures.ranges(own, place, "Mg") == figures.ranges(shipped, place, "Mg")


@pytest.mark.parametrize("name", ["operations", "suffix-2", "number-only"])
def test_anatase_of_a_file_is_anatase(shipped, name):
    atoms = structures.crystal(str(Path(__file__).parent / "data" / "crystals" / "cases" / f"{name}.cif"))
    assert of(shipped, atoms) == of(shipped, ANATASE)
    assert matching.name_of(shipped, crystals.identify(atoms)) == "anatase TiO2"
    assert matching.others(shipped, crystals.identify(atoms)) == ()


def test_another_crystal_has_values_of_elements_only(shipped):
    own = of(shipped, CASSITERITE)
    assert {v.quantity for v in own.values if v.role != "own"} == {
        "cohesive energy",
        "standard electrode potential",
        "Bader charge in oxides",
    }
    assert all(v.facet is None and v.ion is not None for v in own.values)
    assert own.checked() is None
    assert own.not_stated == ()
    assert matching.name_of(shipped, crystals.identify(CASSITERITE)) == "SnO2 (P4_2/mnm)"
    assert matching.others(shipped, crystals.identify(CASSITERITE)) == ALL


BARRIERS = {  # independent barriers of Li (eV)
    "tio2-rutile": ("rutile TiO2", [0.03, 0.029, 0.05, 0.43]),
    "lifepo4": ("LiFePO4", [0.27, 2.5, 0.27, 0.222]),
    "licoo2": ("LiCoO2", [0.672, 0.493, 0.3]),
}


@pytest.mark.parametrize("file", BARRIERS)
def test_a_crystal_of_the_references_has_its_own_barriers_only(shipped, file):
    name, barriers = BARRIERS[file]
    atoms = structures.crystal(str(BATTERY / f"{file}.cif"))
    own = of(shipped, atoms, {"bulk": None})
    assert [v.value for v in own.values if v.quantity == "migration barrier"] == barriers
    assert {(v.role, v.facet, v.ion) for v in own.values if v.quantity == "migration barrier"} == {
        ("independent", "bulk", "Li")
    }
    assert matching.name_of(shipped, crystals.identify(atoms)) == name
    assert matching.others(shipped, crystals.identify(atoms)) == ()
    assert own.checked() is None


def test_report_of_another_crystal_names_that_crystal(shipped):
    own, name = crystals.identify(CASSITERITE), matching.name_of(shipped, crystals.identify(CASSITERITE))
    given = Given(name, own, "cassiterite.cif", ("what was done",), matching.others(shipped, own))
    title = page.title(("Li", "Mg"), name)
    own_rows = material(references=of(shipped, CASSITERITE), results=replace(results(), dft=()))
    made = render(own_rows, title=title, crystal=given)
    assert made.document.rows.headline == ()
    words = re.sub(r'data:image[^"]+', "", made.html.split('id="dataset-card"')[0])  # outlines hold any digits
    for text in (made.markdown.split("## Dataset card")[0], words):
        assert "Mg and Li migration on SnO2 (P4_2/mnm): cross-check" in text
        assert "The references have no barrier of SnO2 (P4_2/mnm) to check" in text
        assert "Crystal: SnO2 (P4_2/mnm), from cassiterite.cif; space group P4_2/mnm (no. 136)" in text
        assert "What was done." in text
        assert "values of LiCoO2, LiFePO4, anatase TiO2, rutile TiO2 are left out" in text
        assert "0.475" not in text
        assert "10.1007/s40820-025-01861-7" not in text
        assert text.count("natase") == 1
        for heading in (
            "Barriers from other sources",
            "nearest to each published",
            "Audit of the paper",
            "How the verdicts",
        ):
            assert heading not in text
    whole = render(material(references=of(shipped, ANATASE)))
    assert len(whole.document.rows.headline) == 6
    assert "Barriers from other sources" in whole.markdown


def test_titles():
    assert page.title(("Li", "Mg"), "anatase TiO2") == "Mg and Li migration on anatase TiO2: cross-check"
    assert page.title(("Li",), "MgO (Fm-3m)") == "Li migration on MgO (Fm-3m): cross-check"
    assert page.title(("Li", "Mg", "Na"), "X") == "Mg, Na and Li migration on X: cross-check"


@pytest.mark.parametrize(
    ("planes", "expected"),
    [
        ({"top": (0, 0, 1)}, "top"),
        ({"top": (0, 0, -2)}, "top"),
        ({"thick": (0, 0, 1), "001": (0, 0, 1)}, "001"),
        ({"001": (1, 0, 1)}, "(001)"),
        ({"001": (1, 0, 1), "b": (0, 0, 1)}, "b"),
        ({"x": (1, 1, 0)}, "001"),
    ],
)
def test_a_facet_is_its_plane_and_not_its_name(shipped, planes, expected):
    assert of(shipped, ANATASE, {"bulk": None, **planes}).value("barrier-Li-001").host == expected


@pytest.mark.parametrize(
    ("miller", "same"), [((0, 1, 0), True), ((-1, 0, 0), True), ((2, 0, 0), True), ((1, 1, 0), False)]
)
def test_planes_that_symmetry_makes_equal(shipped, miller, same):
    value = of(shipped, ANATASE, {"bulk": None, "side": miller}).value("barrier-Li-100")
    assert (value.host == "side") == same


def test_a_row_follows_the_plane(shipped):
    found = results()
    renamed = replace(
        found,
        hosts=hosts(bulk=None, top=(0, 0, 1)),
        sites=tuple(replace(s, host="top" if s.host == "001" else s.host) for s in found.sites),
        hops=tuple(replace(h, host="top" if h.host == "001" else h.host) for h in found.hops),
        barriers=tuple(replace(b, host="top" if b.host == "001" else b.host) for b in found.barriers),
        bottlenecks=tuple(replace(b, host="top" if b.host == "001" else b.host) for b in found.bottlenecks),
    )
    before = tables.rows(found, of(shipped, ANATASE), SETTINGS).headline
    after = tables.rows(renamed, of(shipped, ANATASE, {"bulk": None, "top": (0, 0, 1)}), SETTINGS).headline
    for one, two in zip(before, after, strict=True):
        assert (one.verdict, one.mlip_ev) == (two.verdict, two.mlip_ev) or one.facet == "(100)"
    wrong = of(shipped, ANATASE, {"bulk": None, "001": (1, 0, 1)})
    barred = [r for r in tables.rows(found, wrong, SETTINGS).headline if r.facet == "(001)"]
    assert {(r.verdict, r.reason) for r in barred} == {
        ("not resolved", "no path was calculated for this facet and ion")
    }


def test_surface_energies_follow_the_plane(shipped):
    surfaces = (Facet(name="101", miller=(0, 0, 1)), Facet(name="side", miller=(0, 1, 0)))
    own = of(shipped, ANATASE, surfaces=surfaces)
    assert own.value("window-surface-001").host == "101"
    assert own.value("window-surface-100").host == "side"
    assert own.value("window-surface-101").host == "(101)"


def test_labels_are_of_a_composition_and_a_plane():
    frame = structures.slab(ANATASE, Facet(name="001", miller=(0, 0, 1)), bond_angstrom=2.35)
    frame += Atoms("Li", positions=[[0, 0, 0]])
    path = LabelledPath(group="g", host="001", ion="Li", hop="001_in", initial="a", saddle="b", geometry="images")
    frames = {"a": frame}
    assert labels_fit(path, frames, hosts(**PLANES), ANATASE)
    assert not labels_fit(path, frames, hosts(bulk=None, **{"001": (1, 0, 1)}), ANATASE)
    assert not labels_fit(path, frames, hosts(**PLANES), CASSITERITE)
    zirconium = Atoms(
        ["Zr" if s == "Ti" else s for s in ANATASE.symbols], positions=ANATASE.positions, cell=ANATASE.cell
    )
    assert not labels_fit(path, frames, hosts(**PLANES), zirconium)
    assert labels_fit(path, frames, hosts(bulk=None), CASSITERITE)


def test_registry_names_are_for_anatase_and_facets_that_are_named_rightly():
    anatase, rutile = crystals.identify(ANATASE), crystals.identify(CASSITERITE)
    for one in hosts(**PLANES, top=(0, 0, 1)):
        assert of_planes.has_registry(anatase, one)
        assert not of_planes.has_registry(rutile, one)
    assert not of_planes.has_registry(anatase, *hosts(**{"001": (1, 0, 1)}))
    assert not of_planes.has_registry(anatase, *hosts(**{"001_thick": (1, 0, 1)}))


@pytest.mark.parametrize(
    ("facet", "miller"),
    [
        ("(001)", (0, 0, 1)),
        ("(1-10)", (1, -1, 0)),
        ("( 1 0 -1 )", (1, 0, -1)),
        ("(10,1,0)", (10, 1, 0)),
        ("bulk", None),
    ],
)
def test_miller_indices_of_a_facet(facet, miller):
    assert of_planes.miller_of(facet) == miller


def test_references_that_name_no_crystal_apply_as_before(tmp_path, shipped):
    raw = yaml.safe_load((FOLDER / "paper.yaml").read_text())
    del raw["crystal"]
    (tmp_path / "paper.yaml").write_text(yaml.safe_dump(raw))
    assert len(of(references.load(tmp_path), CASSITERITE).values) == len(raw["values"])


@pytest.mark.parametrize(
    ("key", "wrong", "message"),
    [
        ("spacegroup", 231, r"a\.yaml: crystal\.spacegroup: .*less than or equal to 230"),
        ("formula", "Ti O2", r"a\.yaml: crystal\.formula: "),
        ("lengths_angstrom", [3.8, 3.8], r"a\.yaml: crystal\.lengths_angstrom.*: Field required"),
        ("lengths_angstrom", [3.8, 3.8, 0], r"a\.yaml: crystal\.lengths_angstrom\.2: .*greater than 0"),
        ("colour", "white", r"a\.yaml: crystal\.colour: Extra inputs"),
    ],
)
def test_a_wrong_crystal_of_references(tmp_path, key, wrong, message):
    raw = yaml.safe_load((FOLDER / "windows.yaml").read_text())
    raw["crystal"][key] = wrong
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(ValueError, match=message):
        references.load(tmp_path)
