"""Structures: crystals and their files, slabs, symmetry, labelled frames, dispersion."""
