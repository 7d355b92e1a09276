"""Cross-check of published ion migration barriers on oxide facets with DFT-trained MACE potentials."""

__version__ = "0.1.0"
