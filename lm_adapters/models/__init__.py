"""Language models, masked, causal and seq2seq, and sentence encoders."""
