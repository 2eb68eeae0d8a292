"""The ways in: the decorator that makes an experiment, finding one, a worker of a run, a run loaded from its folder."""
