"""Running a kernel: shards of chains, kept draws, diagnostics, signals, observers."""
