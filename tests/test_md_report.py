"""The section of molecular dynamics: the trajectories, and how they ended."""

import numpy as np
import pytest

from mlip.core.status import Status
from mlip.stages.md import md, report


def test_trajectories_say_how_they_ended():
    outcomes = (
        md.Outcome(
            replica="900K-1",
            temperature_kelvin=900.0,
            status=Status("done"),
            length_ps=10.0,
            mean_temperature_kelvin=909.0,
            largest_force_std_ev_per_angstrom=0.2,
        ),
        md.Outcome(
            replica="900K-2",
            temperature_kelvin=900.0,
            status=Status("desorbed", "an ion is 5.0 Angstrom from every atom"),
            length_ps=5.0,
            mean_temperature_kelvin=891.0,
            largest_force_std_ev_per_angstrom=0.2,
        ),
        md.Outcome(
            replica="900K-3",
            temperature_kelvin=900.0,
            status=Status("exploded at the start", "forces"),
            length_ps=0.0,
            mean_temperature_kelvin=None,
            largest_force_std_ev_per_angstrom=None,
        ),
    )
    table = report.trajectories(
        [
            md.Followed(
                name="001_Li",
                host="001",
                ions=("Li",),
                atoms=49,
                mobile=37,
                repeat=(1, 1, 1),
                folders=(),
                replicas=outcomes,
            )
        ]
    )
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["Outcome of the replicas"] == "1 done, 1 desorbed, 1 exploded at the start"
    assert row["Total time (ps)"] == "15.0"
    assert float(row["Mean / set temperature"]) == pytest.approx(np.average([1.01, 0.99], weights=[2, 1]), abs=1e-3)
