"""The backends that evaluate a potential: mace-torch, scalar messages as matrices, compiled code."""
