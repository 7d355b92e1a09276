import numpy as np
import pytest
from ase import Atoms
from ase.mep import NEB
from ase.optimize import FIRE
from helpers import tiny
from numpy.testing import assert_allclose

from mlip.potential import models, potential
from mlip.stages.neb import band as moving
from mlip.stages.neb import neb, pool
from mlip.stages.neb.settings import NebSettings

SETTINGS = NebSettings(
    images=3,
    fmax_ev_per_angstrom=0.02,
    end_fmax_ev_per_angstrom=0.02,
    checkpoint_steps=3,
    max_steps=150,
    desorbed_angstrom=30.0,
    end_moved_angstrom=30.0,
)
HOPS = ((0.0, 0), (0.15, 1), (-0.15, 0))  # shift of the ion's first place, member


class Springs:
    """A backend of two members: an ion between wells on a line, and a stiff host; barriers are known."""

    def __init__(self):
        self.members = [0.3, 0.5]  # barrier, eV
        self.edges_per_call = 10**6
        self.sizes = []
        self.stop_at = None

    def prepare(self, graphs):
        return {"atoms": [len(g.positions) for g in graphs], "positions": np.concatenate([g.positions for g in graphs])}

    def positions(self, prepared, positions):
        return {**prepared, "positions": positions}

    def run(self, member, data, *, stress=False):
        self.sizes.append(len(data["atoms"]))
        if self.stop_at is not None and len(self.sizes) >= self.stop_at:
            raise KeyboardInterrupt
        energies, forces = [], []
        for p in np.split(data["positions"], np.cumsum(data["atoms"])[:-1]):
            e, f = energy_and_forces(p, self.members[member])
            energies.append(e)
            forces.append(f)
        return np.array(energies), np.concatenate(forces), None


HOST = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 3.0, 0.0]])


def energy_and_forces(p, barrier):
    u = p[:-1] - HOST
    x, y, z = p[-1] - p[0] - [0.0, 1.5, 1.5]
    k, bend = np.pi / 3.0, 0.4
    off = y - bend * np.sin(k * x) ** 2
    energy = barrier * np.sin(k * x) ** 2 + 4 * (off**2 + z**2) + 10 * (u**2).sum()
    slope = barrier * k * np.sin(2 * k * x) - 8 * off * bend * k * np.sin(2 * k * x)
    ion = -np.array([slope, 8 * off, 8 * z])
    forces = np.vstack([-20 * u, ion])
    forces[0] -= ion
    return float(energy), forces


def ends(shift):
    out = []
    for x in (shift, 3.0 + shift):
        ion = [[x, 1.5, 1.5 + shift / 3]]
        out.append(Atoms("TiO2Li", np.vstack([HOST, ion]) + 0.0, cell=[12, 12, 12], pbc=True))
    return out


@pytest.fixture
def evaluator(calculator):
    """The tiny committee's evaluator, with springs in the place of the network: the pool must not care."""
    found = potential.Evaluator(calculator.evaluator.model)
    found.backend = Springs()
    return found


def bands_in_a_pool(evaluator, folder=None, hops=HOPS, settings=SETTINGS):
    out, entries = {}, []
    for number, (shift, member) in enumerate(hops):
        start, end = ends(shift)
        steps = neb.climbing(
            start,
            end,
            settings=settings,
            name=neb.BandName(hop=f"hop{number}", host="bulk", member=member),
            checkpoint=None if folder is None else folder / f"{number}.npz",
        )
        entries.append(pool.Entry(steps, start, settings.images + 2, member))
    pool.advance(entries, evaluator, on_done=lambda k, result: out.update({k: result}))
    return out


def alone(number, hops=HOPS, settings=SETTINGS):
    shift, member = hops[number]
    barrier = [0.3, 0.5][member]

    def evaluate(images):
        found = [energy_and_forces(image.positions, barrier) for image in images]
        return np.array([e for e, _ in found]), np.array([f for _, f in found])

    name = neb.BandName(hop=f"hop{number}", host="bulk", member=member)
    return neb.climb(*ends(shift), calculator=None, evaluate=evaluate, settings=settings, name=name)


def test_every_band_is_the_one_it_would_be_alone(evaluator):
    found = bands_in_a_pool(evaluator)
    assert sorted(found) == [0, 1, 2]
    for number, (band, images) in found.items():
        expected, others = alone(number)
        assert band == expected
        assert band.status.code == "converged"
        assert_allclose(band.forward_ev, [0.3, 0.5][HOPS[number][1]], rtol=2e-3, atol=0)
        for image, other in zip(images, others, strict=True):
            assert (image.positions == other.positions).all()


def test_bands_advance_together_and_leave(evaluator):
    few = bands_in_a_pool(evaluator, hops=HOPS[:1])[0][0]
    assert sum(evaluator.backend.sizes) == few.force_calls
    evaluator.backend.sizes.clear()
    same = bands_in_a_pool(evaluator, hops=((0.0, 0), (0.05, 0), (-0.15, 0), (0.1, 0)))
    sizes = evaluator.backend.sizes
    assert sum(sizes) == sum(band.force_calls for band, _ in same.values())
    rounds = [b.force_calls - (SETTINGS.images - 1) * (b.steps + 1) for b, _ in same.values()]  # a band's own requests
    assert len(sizes) == max(rounds) > min(rounds)
    assert max(sizes) > 2 * SETTINGS.images
    assert sizes[-1] == SETTINGS.images  # the last band is alone at the end


def test_killed_pool_continues(evaluator, tmp_path):
    whole = bands_in_a_pool(evaluator)
    total = len(evaluator.backend.sizes)
    for stop in (3, total // 2, total - 2):
        folder = tmp_path / str(stop)
        evaluator.backend = Springs()
        evaluator.backend.stop_at = stop
        with pytest.raises(KeyboardInterrupt):
            bands_in_a_pool(evaluator, folder)
        evaluator.backend = Springs()
        again = bands_in_a_pool(evaluator, folder)
        for number in whole:
            assert again[number][0] == whole[number][0]
        if stop > 3:
            assert len(evaluator.backend.sizes) < total - stop / 2  # it did continue


def test_a_band_that_fails_does_not_stop_the_others(evaluator):
    run = evaluator.backend.run

    def broken(member, data, **more):
        energies, forces, none = run(member, data, **more)
        return (energies * np.nan if member == 1 else energies), forces, none

    evaluator.backend.run = broken
    found = bands_in_a_pool(evaluator)
    assert [found[k][0].status.code for k in range(3)] == ["converged", "out of domain", "converged"]


def test_pool_and_serial_neb_of_ase_agree(labelled):
    """The barrier of ASE's own serial NEB with the shipped potential, within 1 meV."""
    released = models.load(tiny.REPOSITORY / "datasets" / "models" / "tio2-mg-li").subset([1])
    site, middle = labelled["bulk1_Li_site"], labelled["bulk1_Li_hop50"]
    start = Atoms(site.symbols, site.positions, cell=site.cell, pbc=True)
    final = start.copy()
    final.positions[-1] += 2 * (middle.positions[-1] - site.positions[-1])
    settings = SETTINGS.model_copy(update={"climb_from_ev_per_angstrom": 1e3})
    out = {}
    steps = neb.climbing(start, final, settings=settings, name=neb.BandName(hop="bulk_oct", host="bulk"))
    evaluator = potential.Evaluator(released)
    pool.advance([pool.Entry(steps, start, 5, 0)], evaluator, on_done=lambda k, r: out.update({k: r}))
    band, found = out[0]
    assert band.status.code == "converged"
    images = moving.interpolated(found[0].copy(), found[-1].copy(), count=3)
    for image in images:
        image.calc = potential.Potential(evaluator)
    ring = NEB(images, k=settings.spring_ev_per_angstrom2, climb=True, method="improvedtangent")
    assert FIRE(ring, logfile=None).run(fmax=settings.fmax_ev_per_angstrom, steps=100)
    energies = [image.get_potential_energy() for image in images]
    assert_allclose(band.forward_ev, max(energies) - energies[0], rtol=0, atol=1e-3)
    assert band.forward_ev > 0.2


def test_spread_of_the_committee(calculator):
    frames = [tiny.rattled(seed=k) for k in range(2)]
    spread = pool.committee_spread(calculator.evaluator)(frames)
    for one, found in zip(spread, calculator.evaluator(frames), strict=True):
        assert_allclose(one, found.forces_std, rtol=0, atol=1e-12)
    single = potential.load(calculator.evaluator.model.source, members=[1]).evaluator
    assert [s.tolist() for s in pool.committee_spread(single)(frames)] == [np.zeros((5, 3)).tolist()] * 2
