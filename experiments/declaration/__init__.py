"""How an experiment is declared: its arguments, its command, and where experiments of others are found."""
