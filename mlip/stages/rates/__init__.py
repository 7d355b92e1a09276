"""Rates of hops, and diffusion coefficients that follow from them exactly."""
