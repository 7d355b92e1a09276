"""The stage `md`."""
