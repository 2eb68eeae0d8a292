"""The texts that chains start from: half of them likely ones, from below, and half as they are filled, from above."""
