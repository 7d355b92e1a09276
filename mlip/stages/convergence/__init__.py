"""The stage `convergence`."""
