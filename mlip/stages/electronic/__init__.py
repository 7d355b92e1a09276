"""The stage `electronic`: gaps and densities of states, Bader charges, charge density differences, by DFT."""
