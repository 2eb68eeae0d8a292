"""Words of texts, as constraints and energies: real ones, forbidden ones, repeated ones; texts that are known."""
