"""Results of the stages before `rates` for a square row of Li on (001) and Li in bulk anatase, made by hand."""

from dataclasses import replace

import numpy as np

from helpers import walks
from mlip.core.status import Status
from mlip.core.uncertainty import Uncertainty
from mlip.stages.modes import result as modes
from mlip.stages.neb import neb
from mlip.stages.rates.assembly import Budget, Found
from mlip.stages.sites import sites

MINIMUM, SADDLE = (6.0, 9.0, 12.0), (8.0, 10.0)
PREFACTOR = 8.1
CELLS = {"001": walks.SQUARE, "bulk": walks.ANATASE}
BUDGET = Budget(
    calibration=2.0,
    path_error_ev=0.01,
    errors=Uncertainty(convergence_ev=0.005, dft_settings_ev=0.01, dispersion_ev=0.02),
    prefactor_ln=0.2,
)
MEMBERS = (-0.01, 0.0, 0.01)


def bands(hop, host, forward, *, ion="Li", shifts=MEMBERS):
    """One converged band of each member."""
    return [
        neb.Band(
            hop=hop,
            host=host,
            ion=ion,
            member=number,
            status=Status(neb.CONVERGED),
            forward_ev=forward + shift,
            reverse_ev=forward + shift,
            energies_ev=(0.0, forward + shift, 0.0),
            coordinate_angstrom=(0.0, 1.0, 2.0),
            ion_angstrom=((0.0, 0.0, 0.0),) * 3,
            fmax_ev_per_angstrom=0.01,
            steps=9,
            force_calls=30,
            force_std_ev_per_angstrom=0.1,
            stationary=True,
        )
        for number, shift in enumerate(shifts, 1)
    ]


def proved(hop, host, forward, *, ion="Li", **more):
    """A hop whose saddle is proved."""
    made = modes.HopModes(
        host=host,
        ion=ion,
        hop=hop,
        status=Status(modes.PROVED),
        forward_ev=forward,
        reverse_ev=forward,
        forward_std_ev=0.01,
        reverse_std_ev=0.01,
        initial_thz=MINIMUM,
        final_thz=MINIMUM,
        saddle_thz=SADDLE,
        imaginary_thz=5.0,
        forward_prefactor_thz=PREFACTOR,
        reverse_prefactor_thz=PREFACTOR,
    )
    return replace(made, **more)


def failed(hop, host, *, ion="Li"):
    """A hop whose saddle has two imaginary modes."""
    said = Status(modes.SECOND_ORDER, "imaginary modes of 6.0 and 2.1 THz")
    return modes.HopModes(host=host, ion=ion, hop=hop, status=said)


def next_copy(site):
    """The way along x from the first copy of a site to the next cell."""
    across = (walks.A, 0.0, 0.0)
    return sites.Period(direction="x", translation_angstrom=across, copy=0, image=(1, 0, 0))


def found(*, along=0.3, across=0.4, bulk=0.5, **more):
    """A square of sites on (001) with hops x and y, and the voids of bulk anatase."""
    square, ways = walks.square()
    voids, hops = walks.anatase()
    (square[0], voids[0]) = (replace(s, periods=(next_copy(s),)) for s in (square[0], voids[0]))
    every = [("x", "001", along), ("y", "001", across), ("bulk_oct", "bulk", bulk)]
    moved = [band for one in every for band in bands(*one)]
    made = Found(
        sites=(*square, *voids),
        hops=(*ways, *hops),
        barriers=tuple(neb.committee([b for b in moved if b.hop == name], symmetric=True) for name, *_ in every),
        bands=tuple(moved),
        modes=tuple(proved(*one) for one in every),
        contains_d3=True,
    )
    return replace(made, **more)


def quantum(temperature):
    """Factor of quantum partition functions and tunnelling on every rate of these hops."""
    from mlip.stages.rates import transition

    tunnelling = transition.wigner(5.0, temperature)
    return float(np.exp(transition.ln_quantum(MINIMUM, SADDLE, temperature)) * tunnelling)
