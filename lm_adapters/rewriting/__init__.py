"""Moves that write whole texts or spans anew with a seq2seq model, each chain from a source of its own."""
