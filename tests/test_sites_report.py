"""The tables of cells and sites."""

from dataclasses import replace

from helpers.material import host, results

from mlip.stages.sites import report
from mlip.stages.structures import cells_section


def test_desorbed_site_has_no_energy():
    rows = report.sites_table(results().sites).rows
    assert [row[4] for row in rows if row[-1] == "desorbed"] == ["\u2013"]
    assert [row[4] for row in rows if row[2] == "U1" and row[0] == "001"] == ["0.650"]


def test_every_table_has_a_kind_per_column():
    table = report.sites_table(results().sites)
    assert len(table.columns) == len(table.kinds)
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_a_face_without_a_surface_site_is_told():
    (row,) = [s for s in results().sites if s.name == "U1" and s.host == "001"]
    said = "001 Li: all sites are subsurface; hops have barriers, but a lowest path begins at a surface site"
    assert report.below_surface((replace(row, ion="Li"),)) == [said]
    assert report.below_surface([s for s in results().sites if s.host == "001"]) == []
    assert report.below_surface((replace(row, layer="bulk"),)) == []
    assert report.sites_section((replace(row, ion="Li"),)).text[-1] == f"{said}."


def test_cells_have_their_sizes_and_notes():
    (table,) = cells_section((host("bulk"), host("001", note="thin"))).tables
    bulk, slab = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert bulk["a, b, c (\u00c5)"] == "7.60, 7.60, 22.30"
    assert (bulk["Thickness (\u00c5)"], slab["Thickness (\u00c5)"]) == ("\u2013", "7.26")
    assert (bulk["Note"], slab["Note"]) == ("\u2013", "thin")
    assert slab["Coordination"] == "8 Ti5c, 8 Ti6c, 8 O2c, 24 O3c"
