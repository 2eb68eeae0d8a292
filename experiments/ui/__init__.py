"""``mcmc-text ui``: a form, a live view and the pages of runs, in a browser on this machine."""
