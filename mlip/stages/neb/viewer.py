"""The bands of one hop, image by image: for the viewer of the report.

Takes the bands of a hop, one per member, and their images; gives a `Viewer`. Energies are in eV, lengths in Angstrom.
A band that is not converged is shown, and its energies are not said.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import find_mic

from mlip.core.arrays import Array
from mlip.core.figures import MEMBERS, VERMILION
from mlip.core.report import ANGSTROM, number
from mlip.core.report.viewer import Track, Viewer
from mlip.stages.neb.neb import CONVERGED, Band
from mlip.stages.neb.report import ELEMENTS, OTHER, depth, mean_of, within

Images = Mapping[tuple[str, str, str, int], Sequence[Atoms]]  # host, ion, hop and member -> images of the band


def band_viewer(bands: Sequence[Band], images: Images, *, caption: str, dft_ev: float | None = None) -> Viewer | None:
    """The bands of one hop and ion that have images, or None where no band has any.

    Args:
        bands: one per member.
        images: of these bands, and maybe of others.
        caption: shown above the viewer.
        dft_ev: DFT barrier (eV), drawn as a horizontal line.
    """
    known = [(band, images.get((band.host, band.ion, band.hop, band.member), ())) for band in bands]
    shown = [(band, frames) for band, frames in known if frames and len(frames) == len(band.energies_ev)]
    if not shown:
        return None
    first = shown[0][1][0].copy()
    scaled = first.get_scaled_positions(wrap=False)
    scaled[:, :2] %= 1.0
    first.positions = scaled @ first.cell.array
    colours = [ELEMENTS.get(symbol, OTHER) for symbol in first.get_chemical_symbols()]
    band = shown[0][0]
    return Viewer(
        key=f"band-{band.host}-{band.ion}-{band.hop}",
        caption=caption,
        colours=(*colours[:-1], VERMILION),
        radii=tuple(float(0.35 * covalent_radii[z] + 0.3) for z in first.numbers),
        copies=tuple((k, float(x), float(y), float(z)) for k, (x, y, z) in _copies(first)),
        outlines=_outlines(first),
        marked=len(first) - 1,
        tracks=tuple(_track(band, _continuous(first, frames)) for band, frames in shown),
        mean=tuple((float(x), float(y)) for x, y in mean_of(bands)),
        level=None if dft_ev is None else (dft_ev, "DFT"),
        labels=(f"path length, all atoms ({ANGSTROM})", "energy (eV)"),
    )


def _track(band: Band, positions: Array) -> Track:
    return Track(
        name=f"potential {band.member}",
        images=positions,
        coordinate=band.coordinate_angstrom,
        values=band.energies_ev,
        said=said(band),
        start=int(np.argmax(band.energies_ev)),
        colour=MEMBERS[band.member % len(MEMBERS)],
        dashed=band.status.code != CONVERGED,
    )


def said(band: Band) -> tuple[str, ...]:
    """Every image of a band in words; without an energy where the band is not converged."""
    n, highest = len(band.energies_ev), int(np.argmax(band.energies_ev))
    lines = []
    for k, (energy, length) in enumerate(zip(band.energies_ev, band.coordinate_angstrom, strict=True)):
        if band.status.code != CONVERGED:
            lines.append(f"Image {k + 1} of {n}: no energy is given, because the status of the band is {band.status}.")
            continue
        top = ", the highest image" if k == highest else ""
        lines.append(
            f"Image {k + 1} of {n}{top}: energy {number(energy, signed=True)} eV, path length {length:.2f} {ANGSTROM}."
        )
    return tuple(lines)


def _continuous(first: Atoms, frames: Sequence[Atoms]) -> Array:
    """Positions (n, N, 3) along the band, each image next to the one before it, beginning near `first`."""
    places = [first.positions]
    for frame in frames:
        moves, _ = find_mic(frame.positions - places[-1], first.cell, first.pbc)
        places.append(places[-1] + moves)
    return np.array(places[1:])


def _copies(first: Atoms) -> list[tuple[int, Array]]:
    """Atoms of the host and the lateral shift (Angstrom) of each of their images that lie just outside the cell."""
    scaled, out = first.get_scaled_positions(wrap=False), []
    for shift in np.ndindex(3, 3):
        cells = np.array([shift[0] - 1, shift[1] - 1, 0])
        if cells.any():
            inside = within(scaled + cells, first)[:-1]
            out += [(int(k), cells @ first.cell.array) for k in np.flatnonzero(inside)]
    return out


def _outlines(first: Atoms) -> tuple[tuple[tuple[float, float], ...], tuple[tuple[float, float], ...]]:
    """The cell from above, and from the side unless most of the cell is vacuum."""
    cell, made = first.cell.array, []
    for up in (1, 2):
        corners = np.array([np.zeros(3), cell[0], cell[0] + cell[up], cell[up]])[:, [0, up]]
        made.append(tuple((float(x), float(y)) for x, y in corners))
    return made[0], made[1] if first.cell.lengths()[2] < 1.5 * depth(first) else ()
