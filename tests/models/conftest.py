"""Networks of a few weights: a second thread would cost more than it brings, above all on a busy machine."""

import torch

torch.set_num_threads(1)
