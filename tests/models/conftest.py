"""One thread for all tests here: the networks are so small that a second thread would cost time."""

import torch

torch.set_num_threads(1)
