"""Clips and labels, ready to be shared by all workers. numpy and PyAV only; nothing here imports TensorFlow.

- `source`: videos of any origin with their labels, read frame by frame; how training and evaluation see data.
  `video_source`: files of them; `kept`: decoded once.
- `folder`, `csv_list`: which videos there are, of which class and split.
- `decoding`: frames of one file; `timeline`: when each is shown, and which a rate picks; `decoder`: all of that in
  processes of their own, because damaged files are read.
- `store`: the cached form of any dataset, memory-mapped, with a content hash; time-major batches.
- `video`: a folder of videos in the cached form, for searches; `pace`: the same without labels, by pace of playback.
- `moving_digits`: the bundled task, rendered from the real handwritten digits of `digits.npz`;
  `motions`: where its digits are at each tick; `sample_videos`: the same as video files, to try things on.
"""
