"""Language models behind one interface: masked, causal, seq2seq, and sentence encoders."""
