"""Calls of an expensive method that a hop costs: ours, plain CI-NEB and ASE's dimer, with one potential as the truth.

Takes the end points of a hop; the base model plays DFT and the released committee is the potential that is corrected.
All three begin from the band of the released committee and stop at the same force on every atom, ends included.
"""

from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

REPOSITORY = Path(__file__).parents[1]
MODELS = REPOSITORY / "datasets" / "models"
FMAX = 0.05  # eV/Angstrom


class Truth(Calculator):
    """The base model, counting how often it is asked."""

    implemented_properties = ("energy", "forces")

    def __init__(self, folder):
        super().__init__()
        self.use, self.calls = use("base", folder), 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        (found,) = self.use([self.atoms])
        self.results = {"energy": found.energy_ev, "forces": found.mean_forces}


def use(name, folder):
    """A shipped model, by symmetrix-xl where it is installed."""
    import importlib.util

    from mlip.potential import models, potential

    fast = "symmetrix-xl" if importlib.util.find_spec("symmetrix") else "mace-scalar"
    return potential.Evaluator(models.load(MODELS / name), backend=fast, folder=folder / f"symmetrix-xl-{name}")


def measured(peer, ends, folder):
    """Calls and barrier (eV) of one hop.

    Args:
        peer: ours, neb or dimer.
        ends: initial and final end point.
        folder: where compiled models are kept.
    """
    from mlip.stages.neb.settings import NebSettings
    from mlip.stages.refine import loop
    from mlip.stages.refine.settings import RefineSettings
    from mlip.tools.refined_hop import begun

    settings = RefineSettings(fmax_ev_per_angstrom=FMAX)
    first, last = map(loop.bare, ends)
    hop, found, prior = begun(first, last, use("tio2-mg-li", folder), settings, NebSettings())
    truth = Truth(folder)
    barrier = {"ours": ours, "neb": plain_neb, "dimer": dimer}[peer](hop, found, prior, truth)
    return {"calls": truth.calls, "barrier_ev": barrier}


def ours(hop, _begun, prior, truth):
    """Refinement as the stage does it."""
    from mlip.stages.neb.settings import NebSettings
    from mlip.stages.refine import loop
    from mlip.stages.refine.settings import RefineSettings
    from mlip.tools.refined_hop import calculated

    def label(frames, number):
        return [loop.Call(part, number, atoms, calculated(atoms, truth)) for part, atoms in frames.items()]

    settings = RefineSettings(fmax_ev_per_angstrom=FMAX)
    done, calls = loop.refined(hop, label=label, prior=prior, settings=settings, neb_settings=NebSettings())
    if done.status.code != loop.CONVERGED:
        return None
    last = loop.latest(calls)
    return loop.label_of(last["saddle"], "pbe")[0] - loop.label_of(last["initial"], "pbe")[0]


def relaxed(hop, truth):
    """Both ends by BFGS, one of them where the hop is symmetric."""
    from ase.optimize import BFGS

    from mlip.stages.neb import reversal

    ends = [hop.band[0].copy(), hop.band[-1].copy()]
    for end in ends[:1] if hop.symmetric else ends:
        end.calc = truth
        with BFGS(end, logfile=None) as relax:
            relax.run(fmax=FMAX, steps=300)
    if hop.symmetric:
        ends[1].positions = reversal.between(*hop.band[:: len(hop.band) - 1]).positions(ends[0].positions)
    return ends


def plain_neb(hop, _begun, _prior, truth):
    """ASE's climbing-image NEB from the band of the potential."""
    from ase.mep import NEB
    from ase.optimize import FIRE

    ends = relaxed(hop, truth)
    images = [ends[0], *(image.copy() for image in hop.band[1:-1]), ends[1]]
    for image in images:
        image.calc = truth
    band = NEB(images, k=0.5, climb=True, method="improvedtangent", allow_shared_calculator=True)
    with FIRE(band, logfile=None) as fire:
        converged = fire.run(fmax=FMAX, steps=400)
    before = truth.calls
    energies = [image.get_potential_energy() for image in images]
    truth.calls = before  # a shared calculator forgets what was known
    return float(max(energies) - energies[0]) if converged else None


def dimer(hop, begun, _prior, truth):
    """ASE's dimer from the saddle of the potential, along its lowest mode."""
    from ase.mep import DimerControl, MinModeAtoms, MinModeTranslate

    ends = relaxed(hop, truth)
    saddle = begun.saddle.copy()
    saddle.calc = truth
    with DimerControl(initial_eigenmode_method="displacement", displacement_method="vector", logfile=None) as control:
        moving = MinModeAtoms(saddle, control, eigenmodes=[np.array(begun.mode)])
        with MinModeTranslate(moving, logfile=None) as translate:
            converged = translate.run(fmax=FMAX, steps=300)
    before = truth.calls
    barrier = moving.get_potential_energy() - ends[0].get_potential_energy()
    truth.calls = before
    return float(barrier) if converged else None
