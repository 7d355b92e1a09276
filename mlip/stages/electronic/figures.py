"""Figures of the stage `electronic`: densities of states, and changes of the density. Rows in, bytes out (SVG)."""

import numpy as np

from mlip.core.figures import BLACK, BLUE, GREY, MEMBERS, VERMILION, canvas, encoded
from mlip.stages.electronic.result import HostStates, IonCharge

LARGEST = 0.98  # quantile of the absolute change at which the colours end


def states(row: HostStates) -> bytes:
    """Density of states over energy: total, by element, and of the outermost layers of a slab."""
    with canvas(3.4, 2.4) as (figure, (axis,)):
        axis.plot(row.energies_ev, row.total, color=BLACK, label="total")
        for number, (element, part) in enumerate((row.elements or {}).items()):
            axis.plot(row.energies_ev, part, color=MEMBERS[number % len(MEMBERS)], linestyle="--", label=element)
        if row.outer:
            axis.fill_between(row.energies_ev, row.outer, color=GREY, alpha=0.5, linewidth=0, label="outer layers")
        if row.gap_ev is not None:
            axis.axvspan(0.0, row.gap_ev, color=BLUE, alpha=0.1, linewidth=0)
        axis.set_ylim(bottom=0.0)
        axis.set_xlabel("energy above the valence band (eV)")
        axis.set_ylabel("states per eV and cell")
        axis.legend(fontsize=6)
        axis.set_title(row.host, fontsize=8)
        return encoded(figure)


def change(row: IonCharge) -> bytes:
    """Section of the change of the density through the ion, and its average over planes."""
    section = np.array(row.section)
    top = float(np.quantile(np.abs(section), LARGEST)) or 1.0
    heights = np.array(row.heights_angstrom)
    with canvas(3.8, 3.0, panels=2) as (figure, (left, right)):
        extent = (0.0, 1.0, float(heights[0]), float(heights[-1]))
        left.imshow(section.T, origin="lower", extent=extent, aspect="auto", cmap="RdBu_r", vmin=-top, vmax=top)
        left.set_xlabel("along the first cell vector")
        left.set_ylabel("height (\u00c5)")
        right.plot(row.planar, heights, color=VERMILION)
        right.axvline(0.0, color=GREY, linewidth=0.6)
        right.set_xlabel("electrons per \u00c5")
        left.set_title(f"{row.ion} on {row.host}", fontsize=8)
        return encoded(figure)
