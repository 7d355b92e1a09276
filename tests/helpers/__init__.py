"""Structures, potentials, settings and results that several test files share."""
