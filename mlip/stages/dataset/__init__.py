"""The stage `dataset`."""
