"""Video files, read frame by frame.

- `source`: videos with labels, opened by name; `video_source` is one of video files.
- `folder`, `csv_list`: list videos with their classes and splits; `splits` divides them.
- `decoding`: decodes frames of one file; `decoder` does so in separate processes.
- `timeline`: the time of each frame, and the frames that a rate selects.
- `decoded_cache`: keeps decoded videos on a drive.
"""
