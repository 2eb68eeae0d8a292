"""The folder of a run: files that are whole or absent, checkpoints, and what a run is compared by on resume."""
