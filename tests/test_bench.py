import sys

import pytest
from helpers import tiny

sys.path.insert(0, str(tiny.REPOSITORY / "scripts"))
import bench_page

from mlip.atoms import extxyz

MACHINE = {"processor": "a CPU", "cores": 2, "memory_gb": 24}


def measured(**numbers):
    return {**numbers, "date": "2026-01-02", "versions": {"python": "3.13.5", "torch": "2.13.0"}}


def test_page_shows_ratios_and_leaves_out_what_was_not_measured():
    known = {
        "point ase 49 float64": measured(ms=100.0, peak_mb=900.0),
        "point symmetrix-xl 49 float64": measured(ms=20.0, peak_mb=500.0),
        "neb ase": measured(seconds=60.0, end_calls=100, band_calls=1500, barriers_ev={"a": 0.5, "b": None}),
        "neb mace-scalar 0.01": measured(barriers_ev={"a": 0.5002, "b": 0.3}),
        "neb symmetrix-xl": measured(
            seconds=6.0, end_calls=100, band_calls=700, barriers_ev={"a": 0.5004, "b": 0.30005}
        ),
    }
    page = bench_page.page(known, MACHINE)
    assert "| 49 atoms, float64 | 100.0 |  |  | 20.0 | 5.0x | 900 |  | 500 |" in page
    assert "| ours, symmetrix-xl | 6.0 | 10.0x | 100 | 700 | 0.20 |" in page
    assert "| 60.0 | 1.0x | 100 | 1500 | 0.20 (1 not converged) |" in page
    assert "Training" not in page
    assert "196 atoms" not in page
    assert "2 cores of a CPU, 24 GB." in page


def test_versions_of_several_environments_stand_side_by_side():
    older = measured(seconds=0.05) | {"versions": {"python": "3.11.7", "torch": "2.13.0"}}
    page = bench_page.page({"start_up ours": older, "sites mace-scalar": measured(seconds=2.0)}, MACHINE)
    assert "| python | 3.11.7, 3.13.5 |\n| torch | 2.13.0 |" in page


def test_errors_of_ten_epochs_stand_with_what_they_mean():
    known = {"train ours": measured(frames_per_s=38.8, seconds=10.0, force_rmse_ev_per_angstrom=0.5494)}
    page = bench_page.page(known, MACHINE)
    assert "| ours | 38.8 | 10 | 0.5494 |\n\nTen epochs measure speed." in page


def test_page_sets_aims_beside_what_was_measured():
    known = {
        "neb ase": measured(seconds=60.0, end_calls=100, band_calls=1500, barriers_ev={"a": 0.5}),
        "neb mace-scalar": measured(seconds=30.0, end_calls=100, band_calls=700, barriers_ev={"a": 0.5}),
        "profile symmetrix-xl": measured(floor_ms=20.0, batch_ms=21.0, new_list_ms=22.0, overhead=0.05),
        "point ase 1960 float64": measured(ms=100.0, peak_mb=2000.0),
        "point mace-scalar 1960 float64": measured(ms=100.0, peak_mb=2100.0),
        "md ase 196 1": measured(steps_per_s=2.0),
        "md symmetrix-xl 196 1": measured(steps_per_s=10.0),
        "md symmetrix-xl 980 1": measured(steps_per_s=2.0),
        "md symmetrix-xl 1960 1": measured(steps_per_s=0.8),
        "md torch-sim 49 16": measured(steps_per_s=20.0),
    }
    page = bench_page.page(known, MACHINE)
    assert "| six bands, mace-scalar, against ASE | at least 2.5x | 2.0x |" in page  # a miss stays in the page
    assert "six bands, symmetrix-xl" not in page
    assert "| 49 atoms, symmetrix-xl: overhead beyond the network | under 10 % | 5.0 % |" in page
    assert "| memory at 1960 atoms, mace-scalar, against ASE + MACECalculator | at most 1.00 | 1.05 |" in page
    assert "| 196 atoms, 1 replica | 2.00 |  |  | 10.00 | 5.0x |  |  |" in page
    assert "| 49 atoms, 16 replicas |  |  |  |  |  | 20.00 |  |" in page
    assert "| ours, symmetrix-xl | 510 | 510 | 638 | 25 % |" in page


def test_calls_of_a_hop_by_three_methods_in_a_row():
    known = {
        "refine ours Li_001_in": measured(calls=6, barrier_ev=1.1649),
        "refine neb Li_001_in": measured(calls=312, barrier_ev=1.16496),
        "refine dimer Li_001_in": measured(calls=120, barrier_ev=None),
        "refine ours Mg_001_in": measured(calls=9, barrier_ev=1.603),
    }
    page = bench_page.page(known, MACHINE)
    assert "| Li_001_in | 6 | 1.1649 | 312 | 1.1650 | 120 | not converged |" in page
    assert "| Mg_001_in | 9 | 1.6030 |  |  |  |  |" in page


@pytest.mark.parametrize(
    "name", ["Li_bulk_oct", "Li_001_in", "Li_100_010zz", "Mg_bulk_oct", "Mg_001_in", "Mg_100_010zz"]
)
def test_both_ends_of_the_headline_hops_are_shipped(name):
    from mlip.atoms.ends import unwrapped

    frames = [f for f in extxyz.read_frames(tiny.REPOSITORY / "scripts" / "bench_hops.extxyz") if f.info["hop"] == name]
    assert [f.info["end"] for f in frames] == [0, 1]
    assert unwrapped(*frames).symbols[-1] == name[:2]
