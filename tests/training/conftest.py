"""One thread for torch: the networks are so small that a second thread makes tests slower."""

import torch

torch.set_num_threads(1)
