"""Experiments: one file each, usable as a command (``mcmc-text NAME``) and as a plain Python function."""

import os

# The library that multiplies torch's matrices on x86 lets the last bits depend on the number of threads, unless it is
# told otherwise before its first use. AVX2 is what all its machines have; it costs nothing measurable there.
os.environ.setdefault("MKL_CBWR", "AVX2,STRICT")
