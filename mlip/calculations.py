"""Single calculations from Python, without a run: a band between two structures, the sites of an ion on a host.

Any ASE calculator serves; that of a model folder comes from `mlip.load`.
"""

from collections.abc import Sequence
from typing import Any

from ase import Atoms

from mlip.atoms.structures import metals
from mlip.stages.neb.neb import Band, BandName, climb
from mlip.stages.neb.settings import NebSettings
from mlip.stages.sites.settings import SitesSettings
from mlip.stages.sites.sites import Site, host_relaxed, relaxed_sites
from mlip.stages.sites.vacancies import VacancyHop, relaxed_vacancies, vacancy_hops


def band(
    initial: Atoms, final: Atoms, calculator: Any, *, settings: NebSettings | None = None
) -> tuple[Band, list[Atoms]]:
    """A climbing-image band between two structures of one host with one ion, the last atom.

    Args:
        initial: relaxed first, in its fixed cell; never changed.
        final: the same atoms in the same order; atoms wrapped to the other side of the cell are put back.
        calculator: any ASE calculator.
        settings: number of images, force limits and so on; the defaults of the stage `neb` without.

    Returns:
        The band with its status and, where it converged, forward and reverse barrier in eV, and its images with
        energies (eV) and forces (eV/Angstrom).

    Raises:
        ValueError: the two structures do not belong together, or are one structure.

    Method: doi:10.1063/1.1329672, doi:10.1063/1.1323224.
    """
    name = BandName(hop="hop", host="host", member=1)
    return climb(initial, final, calculator=calculator, settings=settings or NebSettings(), name=name)


def find_vacancy_hops(
    host: Atoms, ion: str, calculator: Any, *, settings: SitesSettings | None = None, seed: int = 1
) -> list[tuple[VacancyHop, Atoms, Atoms]]:
    """The distinct hops of an ion of the crystal into a vacancy beside it, with both ends for `mlip.band`.

    Args:
        host: bulk cell or slab that holds the ion, large enough that a vacancy does not see its images.
        ion: chemical symbol.
        calculator: any ASE calculator that knows the host's elements.
        settings: force limit, longest hop and so on; the defaults of the stage `sites` without.
        seed: of the displacements before the relaxation of the host.

    Returns:
        Hops, the shortest first, and their initial and final structures, the ion that moves as the last atom.

    Raises:
        ValueError: the host does not relax, or holds fewer than two of the ion.
    """
    chosen = settings or SitesSettings()
    relaxed = host_relaxed(host, calculator, chosen, seed=seed)
    found, with_vacancy = relaxed_vacancies(relaxed, ion, calculator, chosen)
    return vacancy_hops(relaxed, found, with_vacancy, chosen, name="host")


def find_sites(
    host: Atoms,
    ion: str,
    calculator: Any,
    *,
    settings: SitesSettings | None = None,
    metal_symbols: Sequence[str] | None = None,
    seed: int = 1,
) -> tuple[list[Site], dict[str, Atoms]]:
    """The distinct sites of an ion on a clean host, and the relaxed structure of each by its name.

    Args:
        host: slab (vacuum along the third vector) or bulk cell without the ion; relaxed first.
        ion: chemical symbol.
        calculator: any ASE calculator that knows the host's elements and the ion.
        settings: search grid, depths, limits; the defaults of the stage `sites` without.
        metal_symbols: elements of the host that count as metals; by default all that are no anions.
        seed: of the displacements before relaxations.

    Returns:
        Sites with energies in eV above the lowest one, and structures with the ion as the last atom.

    Raises:
        ValueError: the host does not relax, or has no void for the ion.
    """
    chosen = settings or SitesSettings()
    relaxed = host_relaxed(host, calculator, chosen, seed=seed)
    kinds = metal_symbols or sorted({str(s) for s in host.symbols[metals(host)]})
    return relaxed_sites(relaxed, ion, calculator, chosen, name="host", metal_symbols=kinds, seed=seed)
