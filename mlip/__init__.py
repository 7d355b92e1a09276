"""Cross-check of published ion migration barriers on oxide facets with DFT-trained MACE potentials.

    import mlip

    potential = mlip.load("datasets/models/tio2-mg-li")     # an ASE calculator with the spread of its committee
    band, images = mlip.band(initial, final, potential)     # climbing-image NEB between two structures
    found, bands = mlip.barrier(initial, final, potential)  # the same by every member of the committee
    hop, points = mlip.refined(initial, final, potential, calculator)  # ends and saddle relaxed with DFT
    found = mlip.diffusion_of(frames, "Li", frame_fs=100)   # from anyone's trajectory
    sites, occupied = mlip.find_sites(host, "Li", potential)
    hops = mlip.find_vacancy_hops(host, "Li", potential)    # ions of the crystal, with both ends of each hop
    run = mlip.open_run("runs/quick")                       # results as objects, tables of the report as rows

Everything is imported when it is first used, so that `import mlip` is instant.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlip.calculations import band, find_sites, find_vacancy_hops
    from mlip.potential.potential import Potential, load
    from mlip.results import OpenRun, open_run
    from mlip.tools.barrier import barrier, relaxed
    from mlip.tools.diffusion_of import diffusion_of
    from mlip.tools.refined_hop import refined

__version__ = "0.2.0"
__all__ = [
    "OpenRun",
    "Potential",
    "__version__",
    "band",
    "barrier",
    "diffusion_of",
    "find_sites",
    "find_vacancy_hops",
    "load",
    "open_run",
    "refined",
    "relaxed",
]
HOMES = {  # no module of the package has one of these names: a module would take the place of the function
    "OpenRun": "mlip.results",
    "Potential": "mlip.potential.potential",
    "band": "mlip.calculations",
    "barrier": "mlip.tools.barrier",
    "diffusion_of": "mlip.tools.diffusion_of",
    "find_sites": "mlip.calculations",
    "find_vacancy_hops": "mlip.calculations",
    "load": "mlip.potential.potential",
    "open_run": "mlip.results",
    "refined": "mlip.tools.refined_hop",
    "relaxed": "mlip.tools.barrier",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mlip' has no attribute {name!r}; it has: {', '.join(__all__)}")
    from importlib import import_module

    from mlip.core import namesake

    namesake.refuse()
    return getattr(import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
