"""Settings of known error: an energy scale and a force scale that depend on them."""

import numpy as np
import pytest
from ase import Atoms
from numpy.testing import assert_allclose

from mlip.atoms.extxyz import with_labels
from mlip.stages.convergence import convergence
from mlip.stages.convergence.settings import ConvergenceSettings

RMS = np.sqrt(((np.arange(12.0) - 5.5) ** 2).mean())


def frames():
    """Two configurations of an ion on a host, and the host."""
    host = Atoms("TiO2", positions=[[0, 0, 5], [2, 0, 5], [0, 2, 5]], cell=[4, 4, 20], pbc=True)
    made = {"clean": host}
    for name, x in (("site", 1.5), ("hop", 0.5)):
        made[name] = host + Atoms("Li", positions=[[x, 1.5, 7.0]])
    for name, atoms in made.items():
        atoms.info = {"frame_id": name, "host": "001", "ion": "none" if name == "clean" else "Li"}
    return [made["site"], made["hop"], made["clean"]]


BASE = {"site": -10.0, "hop": -9.4, "clean": -7.0}
SLOPE = {"site": 0.0, "hop": 0.02, "clean": 0.05}  # eV at setting 1


def ask(given, changes, *, lacking=()):
    error = changes["error"]
    out = []
    for frame in given:
        name = frame.info["frame_id"]
        forces = error * (np.arange(3.0 * len(frame)) - (3 * len(frame) - 1) / 2).reshape(-1, 3)
        made = with_labels(
            frame, energy_ev=BASE[name] + 3.0 * error + error * SLOPE[name], forces=forces, info=frame.info
        )
        made.arrays["dft_forces"] = forces  # not made to sum to zero, for an exact answer
        out.append(None if (name, error) in lacking else made)
    return tuple(out)


def test_errors_against_the_last_variant():
    found = convergence.study("cutoff", ({"error": 1.0}, {"error": 0.5}, {"error": 0.0}), frames()[:2], ask)
    assert [v.reference for v in found] == [False, False, True]
    assert_allclose([v.force_rms_ev_per_angstrom for v in found], [RMS, RMS / 2, 0.0], rtol=1e-12, atol=0)
    assert_allclose([v.force_max_ev_per_angstrom for v in found], [5.5, 2.75, 0.0], rtol=1e-12, atol=0)
    assert_allclose([v.energy_ev for v in found], [0.02, 0.01, 0.0], rtol=1e-9, atol=0)
    assert found[0].force_rms_by_species.keys() == {"Ti", "O", "Li"}
    ti = np.sqrt(((np.arange(3.0) - 5.5) ** 2).mean())  # the first atom
    assert_allclose([v.force_rms_by_species["Ti"] for v in found], [ti, ti / 2, 0.0], rtol=1e-12, atol=0)
    assert_allclose([v.net_force_ev_per_angstrom for v in found], [1.0, 0.5, 0.0], rtol=1e-7, atol=1e-9)
    only = found[0].differences
    assert [(d.kind, d.high, d.low) for d in only] == [("configurations", "hop", "site")]
    assert_allclose((only[0].value_ev, only[0].change_ev), (0.62, 0.02), rtol=1e-9, atol=0)


def test_an_ion_on_its_host_makes_a_difference_too():
    """The shift of all energies (3 eV) drops out; what is left of the host's own error counts."""
    found = convergence.study("k-points", ({"error": 1.0}, {"error": 0.0}), frames(), ask)[0]
    assert [(d.kind, d.high, d.low) for d in found.differences] == [
        ("configurations", "hop", "site"),
        ("ion on host", "site", "clean"),
        ("ion on host", "hop", "clean"),
    ]
    assert_allclose([d.change_ev for d in found.differences], [0.02, -0.05, -0.03], rtol=1e-9, atol=0)
    assert_allclose(found.energy_ev, 0.05, rtol=1e-9, atol=0)


def test_missing_labels_are_counted_and_left_out():
    def partly(given, changes):
        return ask(given, changes, lacking={("hop", 1.0)})

    found = convergence.study("cutoff", ({"error": 1.0}, {"error": 0.0}), frames()[:2], partly)
    assert found[0].status.detail == "1 of 2 frames have no label"
    assert (found[0].frames, found[0].differences, found[0].energy_ev) == (1, (), None)
    assert found[1].status.detail == "calculated"
    none = convergence.study("cutoff", ({"error": 1.0}, {"error": 0.0}), frames()[1:2], partly)[0]
    assert (none.force_rms_ev_per_angstrom, none.force_max_ev_per_angstrom, none.frames) == (None, None, 0)


def test_a_label_that_failed_a_check_counts_and_says_so():
    def wrong(given, changes):
        out = ask(given, changes)
        if changes["error"]:
            out[1].info["refused"] = "the net force is 1 eV/Angstrom"
        return out

    found = convergence.study("cutoff", ({"error": 1.0}, {"error": 0.0}), frames()[:2], wrong)
    assert_allclose(found[0].energy_ev, 0.02, rtol=1e-9, atol=0)
    assert found[0].frames == 2
    assert [v.status.detail for v in found] == [
        "hop is no label to train on: the net force is 1 eV/Angstrom",
        "calculated",
    ]


def test_other_cells_make_no_difference():
    wide = frames()[0]
    wide.set_cell([5, 4, 20])
    assert convergence.study("x", ({"error": 1.0}, {"error": 0.0}), [frames()[1], wide], ask)[0].differences == ()


def test_a_study_needs_a_reference_and_something_to_compare():
    with pytest.raises(ValueError, match=r"studies: \['cutoff'\] given with fewer"):
        ConvergenceSettings(studies={"cutoff": ({"cutoff_ev": 520.0},)})
