"""MACE potentials: models on disk, evaluation by several backends, and the check that these are equivalent."""
