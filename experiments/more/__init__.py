"""More experiments: commands and Python functions, as those beside this folder."""
