"""What LAMMPS writes when it runs a deck, made without LAMMPS."""

import numpy as np


def dumped(folder, deck, *, frames=30, drift=(0.02, 0.0, 0.0)):
    """What the deck makes LAMMPS write: an ion that moves along y by 0.1 Angstrom a frame on a drifting slab."""
    run = folder / "runs" / "T900-1"
    run.mkdir(parents=True)
    box = [f"0.0 {edge[k]:.6f}" for k, edge in enumerate(deck.header.cell_angstrom)]
    lines, moved = [], ["# time-averaged data for fix drift", "# TimeStep c_shift[1] c_shift[2] c_shift[3]"]
    for k in range(frames):
        x, y, z = np.array([1.9, 1.9 + 0.1 * k, 12.0]) + k * np.array(drift)
        step = k * deck.header.frame_steps
        lines += ["ITEM: TIMESTEP", str(step), "ITEM: NUMBER OF ATOMS", "1", "ITEM: BOX BOUNDS pp pp pp"]
        lines += [*box, "ITEM: ATOMS id xu yu zu", f"{deck.header.atoms} {x:.6f} {y:.6f} {z:.6f}"]
        moved.append(f"{step} " + " ".join(f"{k * d:.8f}" for d in drift))
    (run / "ions.dump").write_text("\n".join(lines) + "\n")
    (run / "drift.txt").write_text("\n".join(moved) + "\n")
    (run / "temperature.txt").write_text("900\n")
    return run
