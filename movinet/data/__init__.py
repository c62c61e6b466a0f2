"""Clips and labels, ready to be shared by all workers. numpy and PyAV only; nothing here imports TensorFlow.

- `store`: the cached form of any dataset, memory-mapped, with a content hash; time-major batches.
- `moving_digits`: the embedded proxy task, rendered from the real handwritten digits of `digits.npz`;
  `motions`: where its digits are at each tick.
- `video`: a folder of real videos, one sub-folder per class, in the same cached form; `decoding`: frames of one file.
"""
