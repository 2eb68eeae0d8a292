"""Loading models by name or folder, checking their files, telling one model from another."""
