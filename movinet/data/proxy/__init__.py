"""Clips for searches.

- `moving_digits`: the bundled task, rendered from the handwritten digits of `digits.npz`; `motions` moves them.
- `sample_videos`: the same task as video files.
- `video_folder`: a folder of videos with one sub-folder per class.
- `pace`: videos with their playback pace as the label.
"""
