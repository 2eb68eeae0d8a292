"""What ``score`` is made of: texts as they are read, energies by name, windows of texts scored together."""
