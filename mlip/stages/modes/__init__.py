"""The stage `modes`."""
