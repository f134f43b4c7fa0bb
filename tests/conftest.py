"""What all tests share."""

import torch

# The problems are small: one thread is faster, and some threaded LAPACK routines fail on them.
torch.set_num_threads(1)
