"""Where the shards of a run are run: ``shares.py`` is the seam, ``local.py`` processes of this machine."""
