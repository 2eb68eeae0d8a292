"""The page of a run: its texts, its plots, and how far to rely on it. A plot is data, which several can draw."""
