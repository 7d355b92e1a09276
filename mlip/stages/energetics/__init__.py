"""energetics."""
