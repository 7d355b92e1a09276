"""The section of molecular dynamics: the trajectories, and how they ended."""

import numpy as np
import pytest

from mlip.stages.md import md, report


def test_trajectories_say_how_they_ended():
    outcomes = (
        md.Outcome("900K-1", 900.0, "done", 10.0, 909.0, 0.2),
        md.Outcome("900K-2", 900.0, "desorbed: an ion is 5.0 Angstrom from every atom", 5.0, 891.0, 0.2),
        md.Outcome("900K-3", 900.0, "exploded at the start: forces", 0.0, None, None),
    )
    table = report.trajectories([md.Followed("001_Li", "001", ("Li",), 49, 37, (1, 1, 1), (), outcomes)])
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["Outcome of the replicas"] == "1 done, 1 desorbed, 1 exploded at the start"
    assert row["Total time (ps)"] == "15.0"
    assert float(row["Mean / set temperature"]) == pytest.approx(np.average([1.01, 0.99], weights=[2, 1]), abs=1e-3)
