"""The command `mlip learn`: rounds of bands and dynamics, choice of frames, labels and training."""
