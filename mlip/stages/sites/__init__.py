"""The stage `sites`."""
