"""What each embedded model learns from: its shape, its examples, its figures."""
