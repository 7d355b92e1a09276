"""literature."""
