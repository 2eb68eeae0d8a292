"""What every test shares: one thread, so that timings and sums do not depend on the machine."""

import torch

torch.set_num_threads(1)
