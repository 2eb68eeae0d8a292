"""Models that live elsewhere, behind a server; only their energies can be had."""
