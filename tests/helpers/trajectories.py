"""A small trajectory of two replicas, in memory and on disk."""

import numpy as np

from mlip.stages.md import trajectory

HEADER = trajectory.Header(
    name="001_Li",
    host="001",
    ions=("Li", "Mg"),
    symbols=("O", "Li", "Mg"),
    stored=(2, 3, 4),
    atoms=5,
    mobile=4,
    cell_angstrom=((7.6, 0.0, 0.0), (0.0, 7.6, 0.0), (0.0, 0.0, 23.0)),
    repeat=(1, 1, 1),
    replicas=("900K-1", "900K-2"),
    temperatures_kelvin=(900.0, 900.0),
    time_step_fs=2.0,
    frame_steps=10,
    model="abcdefabcdefabcdef",
    settings="s",
)


def frames(first, count, *, seed=0):
    rng = np.random.default_rng(seed)
    series = rng.normal(size=(3, count, 2))
    places = rng.normal(0, 30, (count, 2, 3, 3)).astype(np.float32)
    return trajectory.Frames(first, places, rng.normal(size=(count, 2, 3)), *series)


def written(folder):
    trajectory.create(folder, HEADER)
    parts = [frames(0, 3, seed=1), frames(3, 4, seed=2), frames(7, 1, seed=3)]
    for part in parts:
        trajectory.append(folder, part)
    return parts
