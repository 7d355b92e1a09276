"""The stage `ladder`."""
