"""The law that a run draws from: what its options make of the energies, and how it is said."""
