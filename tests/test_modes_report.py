"""Report sections of the stage `modes`: what stands in the tables and what is drawn."""

from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from ase import Atoms
from helpers.tiny import REPOSITORY
from numpy.testing import assert_allclose

from mlip.core.report import DASH
from mlip.core.report.csv import to_csv
from mlip.core.status import Status
from mlip.literature import references
from mlip.stages.modes import pictures, report
from mlip.stages.modes import result as made

PUBLISHED = references.load(REPOSITORY / "datasets" / "references")
SADDLE = Atoms("TiO2Li", positions=[[1, 1, 1], [3, 1, 1], [1, 3, 1.5], [5.5, 3, 3]], cell=[6, 6, 12], pbc=True)
MODE = np.array([[0.0, 0, 0], [0.0, 0.6, 0], [0.01, 0, 0], [0.8, 0, 0]])
HOP = made.HopModes(
    host="001",
    ion="Li",
    hop="par",
    status=Status(made.PROVED),
    forward_ev=0.5,
    reverse_ev=0.4,
    forward_std_ev=0.02,
    reverse_std_ev=0.03,
    initial_thz=(2.0, 4.0, 8.0),
    final_thz=(2.0, 4.0, 9.0),
    saddle_thz=(2.0, 4.0),
    imaginary_thz=3.5,
    forward_prefactor_thz=8.0,
    reverse_prefactor_thz=9.0,
    forward_prefactors_thz=(7.0, 9.5),
    reverse_prefactors_thz=(8.0, 9.9),
    mode=tuple(map(tuple, MODE)),
    saddle_force_ev_per_angstrom=0.0042,
    atoms_moved=4,
    shell_atoms=2,
    shell_prefactor_thz=6.5,
    overlap=0.97,
    evaluations=1234,
)
FAILED = replace(
    HOP,
    hop="over",
    status=Status(made.SECOND_ORDER, "2 unstable modes"),
    forward_ev=None,
    reverse_ev=None,
    forward_std_ev=None,
    reverse_std_ev=None,
    forward_prefactor_thz=None,
    reverse_prefactor_thz=None,
    forward_prefactors_thz=(),
    reverse_prefactors_thz=(),
    shell_prefactor_thz=None,
)
NONE = made.HopModes(host="001", ion="Mg", hop="par", status=Status(made.NO_BAND))
BULK = made.BulkPhonons(
    supercell=(3, 3, 1),
    gamma=(
        made.GammaMode(label="Eg", thz=3.66, degeneracy=2),
        made.GammaMode(label="Eg", thz=5.33, degeneracy=2),
        made.GammaMode(label="A1g", thz=30.0, degeneracy=1),
        made.GammaMode(label="Eg", thz=18.7, degeneracy=2),
    ),
    labels=tuple(
        made.PathPoint(label=t, distance=d) for t, d in (("G", 0.0), ("X", 1.0), ("Z", 2.0), ("P", 2.0), ("N", 3.0))
    ),
    distances=(0.0, 0.5, 1.0, 2.0, 2.0, 3.0),
    bands_thz=((0.0, 5.0), (1.0, 5.5), (2.0, 6.0), (2.5, 6.0), (3.0, 7.0), (3.5, 7.5)),
    dos_thz=(0.0, 4.0, 8.0),
    dos_states_per_thz=(0.0, 1.0, 0.0),
    heat_capacity=(made.HeatCapacity(temperature_k=300.0, cv_j_per_mol_k=56.5),),
    lowest_thz=0.2,
)


def rows(table):
    """The rows of a table as dictionaries."""
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_proved_and_failed_saddles_in_one_table():
    first, second = rows(report.saddles_table([HOP, FAILED, NONE]))
    assert first["Status"] == "proved"
    assert first["Barrier \u00b1 spread (eV)"] == "0.500 \u00b1 0.020"
    assert first["Imaginary frequency (THz)"] == "3.50i"
    assert first["Prefactor (THz)"] == "8.00"
    assert first["Members (THz)"] == "7 to 9.5"
    assert second["Status"] == "second-order saddle: 2 unstable modes"
    assert second["Barrier \u00b1 spread (eV)"] == second["Prefactor (THz)"] == second["Members (THz)"] == "\u2013"


def test_numbers_of_the_tables_reach_the_csv():
    text = to_csv(report.frequencies_table([HOP]))
    assert "4.2" in text  # meV/A
    assert "1234" in text


def test_counts_of_saddles():
    assert report.counts([HOP, FAILED, NONE]) == ("1 of 2 saddles are proved; 1 second-order saddle.",)
    assert report.counts([HOP]) == ("1 of 1 saddles are proved.",)
    assert report.counts([NONE]) == ()


@pytest.mark.parametrize(("value", "word"), [(50.0, "softer"), (0.4, "stiffer")])
def test_prefactor_outside_the_usual_range_is_explained(value, word):
    (line,) = report.unusual([replace(HOP, forward_prefactor_thz=value), HOP, FAILED])
    assert f"{value:.3g} THz is outside 1 to 30 THz because the lattice is {word} at the saddle" in line
    assert "4.000 THz at the minimum and 2.828 THz at the saddle" in line


def test_equal_saddles_and_wells_are_said_where_there_are_several():
    assert report.several([HOP, replace(FAILED, saddle_images=2), NONE]) == ()
    beside, below = report.several([replace(HOP, saddle_images=2, final_wells=4)])
    assert beside == (
        "Li par: 2 saddles, equal by the symmetry of the host, lie side by side. The rate of the hop is 2 times the rate "
        "over one of them."
    )
    assert below == (
        "Li par: the final site has 4 equal wells. The rate out of the site is 1/4 of the rate out of one of them."
    )
    section = report.saddles_section([replace(HOP, saddle_images=2)], {}, {})
    assert any("lie side by side" in point for point in section.points)


def test_modes_at_gamma_stand_beside_published_ones():
    named = [name for name, _, _ in report.numbered(BULK.gamma)]
    assert named == ["Eg1", "Eg2", "A1g", "Eg3"]
    first, _, full, _ = rows(report.gamma_table(BULK, PUBLISHED))
    assert first["Potential (1/cm)"] == "122.1"
    assert (first["PBE calculation (1/cm)"], first["Experiment (1/cm)"]) == ("113.9 (C)", "144.0")
    assert first["In the window"] == "yes"
    assert full["In the window"] == "no"  # 1000.7 1/cm


def test_values_outside_their_windows_are_said():
    (line,) = report.outside(BULK, PUBLISHED)
    assert line == "A1g: 1000.7 1/cm is outside 445 to 544 1/cm."
    cold = replace(BULK, gamma=(), heat_capacity=(made.HeatCapacity(temperature_k=300.0, cv_j_per_mol_k=50.0),))
    assert report.outside(cold, PUBLISHED) == ("Cv at 300 K: 50.0 J/(mol K) is outside 55.4 to 58.4 J/(mol K).",)


def test_a_crystal_with_imaginary_modes_has_no_heat_capacity():
    cold = made.HeatCapacity(temperature_k=300.0, cv_j_per_mol_k=40.0)
    unstable = replace(BULK, gamma=(), heat_capacity=(cold,), lowest_thz=-0.02)
    assert rows(report.heat_table(unstable, PUBLISHED))[0]["Cv (J/(mol K))"] == DASH
    assert report.outside(unstable, PUBLISHED) == ()
    rounding = replace(unstable, lowest_thz=-0.009)  # of acoustic modes
    assert rows(report.heat_table(rounding, PUBLISHED))[0]["Cv (J/(mol K))"] == "40.00"
    assert len(report.outside(rounding, PUBLISHED)) == 1


def test_published_heat_capacity_stands_at_its_temperature_only():
    two = replace(BULK, heat_capacity=(*BULK.heat_capacity, made.HeatCapacity(temperature_k=400.0, cv_j_per_mol_k=63)))
    room, hot = rows(report.heat_table(two, PUBLISHED))
    assert room["PBE calculation (J/(mol K))"] == "56.6 to 57.1 (C)"
    assert hot["PBE calculation (J/(mol K))"] == "\u2013"


def test_crystal_with_an_imaginary_mode_is_called_unstable():
    shown = report.phonons_section(replace(BULK, lowest_thz=-1.5), PUBLISHED)
    assert shown.points[0].endswith("is -1.50 THz: the crystal is not stable in this cell.")
    assert "no mode is imaginary" in report.phonons_section(BULK, PUBLISHED).points[0]
    assert "do not split" in " ".join(shown.text)


def test_sections_of_a_run_without_phonons_say_why():
    hops, bulk = report.modes_sections(
        made.Modes(hops=(HOP,), bulk=None, notes=("it does not relax",)), {}, PUBLISHED, {}
    )
    assert bulk.points == ("it does not relax",)
    assert hops.figures == ()


def test_only_proved_saddles_are_drawn():
    saddles = {HOP.key: SADDLE, FAILED.key: SADDLE}
    shown = report.saddles_section([HOP, FAILED], saddles, {})
    assert [figure.caption for figure in shown.figures] == ["Li par: the unstable mode at the saddle"]


def test_a_saddle_far_from_its_band_is_said():
    band = HOP.forward_ev + 0.25
    (line,) = report.off_the_band([HOP, FAILED], {HOP.key: band, FAILED.key: 5.0})
    assert line.startswith(f"Li par: the proved saddle is 0.25 eV below the barrier of the bands ({band:.2f} eV)")
    assert report.off_the_band([HOP], {HOP.key: HOP.forward_ev + 0.04}) == ()


def test_arrows_are_the_mode_to_scale_inside_the_cell():
    starts, vectors = pictures.arrows(SADDLE, MODE)
    assert_allclose(vectors, [[0, 1.5, 0], [2.0, 0, 0]], atol=1e-12)  # 0.8 is drawn as 2 Angstrom; 0.01 is left out
    assert_allclose(starts, SADDLE.positions[[1, 3]], atol=1e-9)
    moved = SADDLE.copy()
    moved.positions[3] += [6.0, 0, 0]
    assert_allclose(pictures.arrows(moved, MODE)[0], starts, atol=1e-9)


@pytest.mark.parametrize("image", [lambda: pictures.mode_picture(SADDLE, MODE), lambda: pictures.bands_picture(BULK)])
def test_figures_are_well_formed_and_reproducible(image):
    assert ET.fromstring(image()).tag.endswith("svg")  # noqa: S314 (our own bytes)
    assert image() == image()


def test_path_is_drawn_in_pieces_with_labels_side_by_side():
    assert pictures.segments(np.array(BULK.distances)) == [slice(0, 4), slice(4, 6)]
    assert pictures.merged_labels(BULK) == {0.0: "\u0393", 1.0: "X", 2.0: "Z|P", 3.0: "N"}
