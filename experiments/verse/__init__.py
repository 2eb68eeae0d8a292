"""Chinese verse: its metre, and couplets that keep it."""
