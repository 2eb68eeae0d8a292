"""The folder of an experiment's run, resuming it, and the processes that share it."""
