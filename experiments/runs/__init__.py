"""The folder of an experiment's run, whether it may be resumed, and the processes that share it."""
