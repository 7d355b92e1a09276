"""`import mlip`: light, every name of the public face with a known answer, and one clear line for what is not there."""

import subprocess
import sys
from importlib import metadata
from types import ModuleType

import numpy as np
import pytest
from ase.geometry import find_mic
from helpers import tiny
from helpers.lattice_potential import OxidePotential
from helpers.potentials import CosineSurface, displaced, hop
from helpers.walks import ANATASE, VOIDS
from numpy.testing import assert_allclose

import mlip
from mlip import cli
from mlip.atoms import structures
from mlip.core import report
from mlip.core.report import DASH, NUMBER, TEXT, Column
from mlip.core.report.csv import to_csv
from mlip.stages.neb.settings import NebSettings
from mlip.stages.sites.settings import SitesSettings
from mlip.stages.structures import Hosts


@pytest.fixture(scope="module")
def opened(finished):
    return mlip.open_run(finished.folder)


@pytest.fixture
def namesake(monkeypatch):
    """The other package called mlip is installed."""
    known = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.2.1" if name == "mlip" else known(name))


# --- the import


def test_import_is_light():
    code = f"import sys, mlip; print([m for m in {tiny.HEAVY} if m in sys.modules], dir(mlip))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=tiny.environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"[] {sorted(mlip.__all__)}"


@pytest.mark.parametrize("name", mlip.__all__)
def test_every_name_is_there(name):
    for _ in range(2):  # a module of the package with the same name would take the place of the first answer
        assert not isinstance(getattr(mlip, name), ModuleType)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match=r"module 'mlip' has no attribute 'lod'; it has: OpenRun, .*, load, open"):
        mlip.lod  # noqa: B018
    assert not hasattr(mlip, "__wrapped__")


def test_the_other_package_of_this_name_is_refused(namesake, tmp_path, capsys):
    line = r"the package 'mlip' 0\.2\.1 is installed here and imports under the same name as facet-mlip: pip uninstall"
    with pytest.raises(ValueError, match=line):
        mlip.load  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        mlip.lod  # noqa: B018
    assert cli.main(["structures", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert told.startswith("mlip structures: the package 'mlip' 0.2.1 is installed here")
    assert told.count("\n") == 1


# --- calculations


def test_load_is_an_ase_calculator_with_the_spread_of_the_committee(committee):
    atoms = tiny.rattled()
    atoms.calc = mlip.load(committee)
    assert isinstance(atoms.calc, mlip.Potential)
    single = []
    for member in (1, 2):
        alone = atoms.copy()
        alone.calc = mlip.load(str(committee), members=[member])
        single.append(alone.get_potential_energy())
    assert_allclose(atoms.get_potential_energy(), np.mean(single), rtol=1e-12, atol=0)
    assert_allclose(atoms.calc.results["energy_std"], np.std(single, ddof=1), rtol=1e-6, atol=0)


def test_load_of_what_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"none: no such model folder or \.model file"):
        mlip.load(tmp_path / "none")


def test_band_has_the_barrier_of_the_surface():
    ends = hop()
    surface = CosineSurface(ends[0], barrier=0.4, step=0.2)
    initial, final = displaced(ends)
    before = initial.copy()
    band, images = mlip.band(initial, final, surface, settings=NebSettings(fmax_ev_per_angstrom=0.01))
    assert band.status.code == "converged"
    assert_allclose(band.forward_ev, surface.exact_forward, rtol=1e-3, atol=0)
    assert_allclose(band.reverse_ev, surface.exact_forward - 0.2, rtol=1e-3, atol=0)
    assert_allclose(
        max(i.get_potential_energy() for i in images) - images[0].get_potential_energy(), band.forward_ev, rtol=1e-6
    )
    assert initial == before


def test_band_of_structures_that_do_not_belong_together():
    initial, final = hop()
    with pytest.raises(ValueError, match="atoms"):
        mlip.band(initial, final[:-1], CosineSurface(initial))


def test_find_sites_has_the_octahedral_site_of_anatase():
    host = structures.bulk(structures.crystal("anatase"), (1, 1, 1))
    settings = SitesSettings(fmax_ev_per_angstrom=0.02, max_candidates=4, grid_angstrom=0.4)
    sites, occupied = mlip.find_sites(host, "Li", OxidePotential(), settings=settings)
    lowest = min((s for s in sites if s.status.code == "relaxed"), key=lambda s: s.energy_ev)
    assert lowest.energy_ev == 0
    away = find_mic(np.array(lowest.position_angstrom) - VOIDS @ ANATASE, host.cell)[1]
    assert away.min() < 0.5  # the ion sits off the centre of the octahedron
    assert occupied[lowest.name].get_chemical_formula() == "LiO8Ti4"
    assert "Li" not in host.symbols


# --- a finished run


def test_results_of_a_run_are_typed(opened):
    assert isinstance(opened, mlip.OpenRun)
    assert opened.stages == ("structures", "dataset", "train", "evaluate", "sites", "neb", "modes", "rates", "report")
    for stage in opened.run.stages:
        if stage.name in opened.stages:
            assert type(opened.result(stage.name)) is stage.result
    found = opened.result("structures")
    assert isinstance(found, Hosts)
    assert [host.name for host in found.hosts] == ["bulk", "001"]


def test_rows_of_tables_hold_numbers_text_and_none(opened):
    assert opened.tables
    values = []
    for name in opened.tables:
        rows = opened.table(name)
        assert len({tuple(row) for row in rows}) <= 1
        values += [value for row in rows for value in row.values()]
    assert {type(value) for value in values} == {float, str, type(None)}
    assert [row["Cell"] for row in opened.table("cells")] == ["bulk", "001"]
    assert "3" in [row["Value"] for row in opened.table("settings")]  # a setting, as it is written
    facets = [row["Facet"] for name in opened.tables for row in opened.table(name) if "Facet" in row]
    assert "(001)" in facets
    assert not any(isinstance(facet, float) for facet in facets)


def test_names_of_digits_stay_text_and_numbers_are_floats(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(mlip.OpenRun, "_folder", tmp_path)
    columns = [
        Column("Cell", TEXT, lambda r: r[0]),
        Column("Value", TEXT, lambda r: r[1]),
        Column("Barrier (eV)", NUMBER, lambda r: r[2]),
        Column("Count", NUMBER, lambda r: r[3]),
    ]
    rows = [("001", "100", report.number(0.31), "12"), ("bulk", DASH, report.number(None), "not resolved")]
    (tmp_path / "t.csv").write_bytes(to_csv(report.table("t", columns, rows)).encode())
    assert opened.table("t") == [
        {"Cell": "001", "Value": "100", "Barrier (eV)": 0.31, "Count": 12.0},
        {"Cell": "bulk", "Value": None, "Barrier (eV)": None, "Count": "not resolved"},
    ]
    (tmp_path / "t.csv").write_text("Cell,Value\n001,100\n")
    with pytest.raises(ValueError, match=r"t\.csv: not a table of this version; first run: mlip report "):
        opened.table("t")


def test_wrong_names_of_a_run(opened, tmp_path):
    with pytest.raises(ValueError, match=r"^nebb: no such stage; there are: structures, .*, report$"):
        opened.result("nebb")
    with pytest.raises(ValueError, match=r"^md: not done with these settings; first run: mlip md .*finished$"):
        opened.result("md")
    with pytest.raises(ValueError, match=rf"^hopps: no such table; there are: {opened.tables[0]}, "):
        opened.table("hopps")
    with pytest.raises(ValueError, match=r"not a run folder \(no config\.yaml\); make one with: mlip init"):
        mlip.open_run(tmp_path)


def test_a_run_without_a_report_has_no_tables(finished, tmp_path):
    (tmp_path / "config.yaml").write_text(finished.config.read_text())
    run = mlip.open_run(str(tmp_path))
    assert (run.stages, run.tables) == ((), ())
    with pytest.raises(ValueError, match="there are: none; first run: mlip report"):
        run.table("hops")
