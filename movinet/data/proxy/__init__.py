"""Clips for searches.

- `moving_digits`: the bundled task, rendered from the handwritten digits of `digits.npz`; `motions` moves them.
- `sample_videos`: the same task as video files.
- `video_clips`: labelled videos, in a folder with one sub-folder per class or in a list.
- `pace`: videos with their playback pace as the label.
"""
