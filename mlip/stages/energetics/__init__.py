"""The stage `energetics`."""
