"""What all tests share: one thread, so that workers side by side do not get in each other's way."""

import torch

torch.set_num_threads(1)
