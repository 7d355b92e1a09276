"""Candidates of bands and of dynamics: who is given, what is said of a frame, which image needs which."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from helpers.potentials import CosineSurface, displaced, hop
from numpy.testing import assert_allclose

from mlip.core import files
from mlip.core.status import Status
from mlip.learn import candidates, choosing, labelling
from mlip.learn.candidates import Candidate
from mlip.stages.md import trajectory
from mlip.stages.md.md import Followed
from mlip.stages.neb import neb
from mlip.stages.neb.settings import NebSettings
from mlip.stages.neb.stage import Barriers, band_file


@pytest.fixture(scope="module")
def bands(tmp_path_factory):
    """The bands of two members of one hop, in the folder of a stage."""
    folder = tmp_path_factory.mktemp("neb")
    ends, made = hop(box=(10.5, 9.0, 20.0)), []
    for member in (1, 2):
        name = neb.BandName(hop="001_par", host="001", member=member)
        surface = CosineSurface(ends[0], barrier=0.4 + 0.1 * member, step=0.2)
        band, images = neb.climb(*displaced(ends), calculator=surface, settings=NebSettings(), name=name)
        for k, image in enumerate(images):
            image.info |= {"frame_id": f"Li_001_par_member-{member}_{k}", "host": "001", "ion": "Li", "vacuum": True}
            image.info |= {"group": "ladder_001_par_Li", "sampling": "CI-NEB"}
        files.write_frames(band_file(folder, band), images)
        made.append(band)
    return folder, made


def of(bands, *, symmetric):
    folder, made = bands
    barrier = neb.committee(made, symmetric=symmetric)
    return candidates.of_bands(Barriers(bands=tuple(made), barriers=(barrier,), bottlenecks=()), folder, number=3)


def test_images_of_all_members_with_a_name_of_their_round(bands):
    found = of(bands, symmetric=False)
    assert [(c.member, c.image) for c in found] == [(m, k) for m in (1, 2) for k in range(7)]
    assert found[1].name == "round-3_Li_001_par_member-1_1"
    assert found[0].atoms.info["sampling"] == "CI-NEB; round 3 of mlip learn"
    assert all(c.hop == ("001", "Li", "001_par") and c.group == "ladder_001_par_Li" for c in found)
    assert not found[1].atoms.calc
    highest = [int(np.argmax(band.energies_ev)) for band in bands[1]]
    assert [c.image for c in found if c.saddle] == highest
    assert candidates.barriers_of(found) == [(highest[0], 0), (7 + highest[1], 7)]


def test_half_of_a_symmetric_hop_and_none_of_a_band_that_never_ran(bands):
    assert [c.image for c in of(bands, symmetric=True)] == [0, 1, 2, 3] * 2
    never = replace(bands[1][0], fmax_ev_per_angstrom=None)
    found = candidates.of_bands(Barriers(bands=(never,), barriers=(), bottlenecks=()), bands[0], number=0)
    assert found == []


def test_the_saddle_of_a_band_that_falls_all_the_way_lies_between_its_ends(bands):
    falling = replace(bands[1][0], energies_ev=(0.0, -0.2, -0.1, -0.3, -0.4, -0.5, -0.6))
    found = candidates.of_bands(Barriers(bands=(falling,), barriers=(), bottlenecks=()), bands[0], number=0)
    assert [c.image for c in found if c.saddle] == [2]


def test_an_image_needs_an_initial_image_until_its_hop_has_one(bands):
    found = [*of(bands, symmetric=False), Candidate(of(bands, symmetric=False)[0].atoms)]
    assert candidates.partners_of(found, []) == [None, *[0] * 6, None, *[7] * 6, None]
    assert candidates.partners_of(found, [("001", "Li", "001_par")]) == [None] * 15


def test_frames_of_dynamics_evenly_in_time_and_only_where_all_atoms_are_stored(tmp_path):
    atoms = hop()[0]
    count = len(atoms)
    header = trajectory.Header(
        name="001_Li",
        host="001",
        ions=("Li",),
        symbols=tuple(atoms.get_chemical_symbols()),
        stored=tuple(range(count)),
        atoms=count,
        mobile=count,
        cell_angstrom=tuple(map(tuple, atoms.cell.array.tolist())),
        repeat=(1, 1, 1),
        replicas=("300K-1", "900K-1"),
        temperatures_kelvin=(300.0, 900.0),
        time_step_fs=1.0,
        frame_steps=20,
        model="m",
        settings="s",
    )
    trajectory.create(tmp_path / "all", header)
    positions = np.tile(atoms.positions, (9, 2, 1, 1)) + np.arange(9)[:, None, None, None] * 0.01
    positions[5:, 1] = np.nan  # stopped
    none = np.zeros((9, 2))
    chunk = trajectory.Frames(0, positions.astype(np.float32), np.zeros((9, 2, 3)), none, none, none)
    trajectory.append(tmp_path / "all", chunk)
    trajectory.create(tmp_path / "ions", replace(header, symbols=("Li",), stored=(count - 1,)))
    system = Followed(
        name="001_Li",
        host="001",
        ions=("Li",),
        atoms=count,
        mobile=count,
        repeat=(1, 1, 1),
        folders=("all", "ions"),
        replicas=(),
    )
    found = candidates.of_dynamics([system], tmp_path, tmp_path / "none.extxyz", number=1, most=3)
    names = [f"round-1_001_Li_{r}_{k}" for r, k in (("300K-1", 0), ("300K-1", 4), ("300K-1", 8))]
    assert [c.name for c in found] == [*names, *(f"round-1_001_Li_900K-1_{k}" for k in (0, 2, 4))]
    assert_allclose(found[2].atoms.positions - atoms.positions, 0.08, rtol=0, atol=1e-5)
    assert {c.group for c in found} == {"md_001_Li_300K-1", "md_001_Li_900K-1"}
    assert all(c.hop is None for c in found)


def test_a_path_is_declared_for_a_converged_band_only(bands):
    """A band that ran out of steps has a highest image too; its label is no barrier."""
    folder, (one, other) = bands
    stopped = replace(other, status=Status(neb.MAX_STEPS), forward_ev=None, reverse_ev=None)
    made = Barriers(bands=(one, stopped), barriers=(neb.committee([one], symmetric=False),), bottlenecks=())
    found = candidates.of_bands(made, folder, number=3)
    assert {c.member for c in found if c.saddle} == {1, 2}
    paths = labelling._paths(SimpleNamespace(number=3), [(c, c.atoms) for c in found])
    assert [path.geometry.split(" in ")[0] for path in paths] == ["CI-NEB band of member 1"]


def test_the_first_call_has_the_frames_that_later_calls_read(tmp_path, monkeypatch):
    """Positions have eight decimals on disk; labels are found by positions, so a resume must see the same ones."""
    own = SimpleNamespace(folder=tmp_path, fingerprint="now")
    atoms = Atoms("LiO", positions=[[1 / 3, 2 / 3, 0.1234567890123], [2.0, 2.0, 2.0 + 1e-10]], cell=[5.0] * 3, pbc=True)
    atoms.info = {"frame_id": "a", "group": "b"}
    said = choosing.Chosen(frame_id="a", group="b", reason="", hop=None, member=0, image=0, saddle=False)
    choice = choosing.Choice(
        fingerprint="now", candidates=1, held_out=0, labelled_before=0, too_strong=0, unfit=0, chosen=(said,)
    )
    monkeypatch.setattr(choosing, "_made", lambda _: (choice, [Candidate(atoms)]))
    (_, (first,)), (_, (again,)) = choosing.chosen(own), choosing.chosen(own)
    assert np.array_equal(first.atoms.positions, again.atoms.positions)
    assert not np.array_equal(first.atoms.positions, atoms.positions)
