"""The stage `neb`."""
