"""Clips and labels. The package does not import TensorFlow.

- `store`: clips in memory-mapped files, which all workers share.
- `proxy/`: clips for searches.
- `video/`: video files, read frame by frame.
"""
