"""The stage `diffusion`."""
