"""The embedded Chinese models: what they learn from, their shapes, their figures."""
