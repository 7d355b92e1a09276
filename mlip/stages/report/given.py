"""The crystal of a run as the report names it.

Takes the identity of the crystal, the name of its file and notes on what was done; gives `Given` and its sentences.
"""

from dataclasses import dataclass

from mlip.atoms.crystals import Identity


@dataclass(frozen=True)
class Given:
    """The crystal of a run."""

    name: str  # of the references, or else formula and space group
    identity: Identity
    file: str | None  # None: built in
    notes: tuple[str, ...]  # what was done to reach the standard conventional cell
    others: tuple[str, ...]  # crystals that references are for, but not these results

    @property
    def sentences(self) -> tuple[str, ...]:
        """What the crystal is, what was done to the cell of its file, and which references are left out."""
        own = self.identity
        a, b, c, *angles = own.cell_angstrom
        origin = "built in" if self.file is None else f"from {self.file}"
        cell = f"a = {a:.3f}, b = {b:.3f}, c = {c:.3f} Angstrom, angles {', '.join(f'{x:.1f}' for x in angles)} degrees"
        said = [f"Crystal: {self.name}, {origin}; space group {own.spacegroup} (no. {own.number}), {cell}."]
        said += [f"{note[0].upper()}{note[1:]}." for note in self.notes]
        if self.others:
            said.append(f"Published values and DFT values of {', '.join(self.others)} are left out: another crystal.")
        return tuple(said)
