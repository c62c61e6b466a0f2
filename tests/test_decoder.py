"""Test the decoding processes: their results for unusual files, none of which ends this process."""

from __future__ import annotations

import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from painted import encode_painted, paint, painted_number

from movinet.data.video.decoder import Decoder, Limits
from movinet.data.video.timeline import UnusableVideo

TWENTY = [Fraction(n, 25) for n in range(20)]


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return Decoder(2)


def numbers_of(decoder: Decoder, file: Path, numbers: list[int]) -> list[int]:
    frames = decoder.read(file, decoder.scan(file), np.array(numbers))
    return [painted_number(frame) for frame in frames]


def promise(file: Path, samples: int) -> Path:
    """Write a movie of five frames whose tables promise `samples`; FFmpeg takes 36 bytes of memory for each sample."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for grey in range(5):
            image = np.full((16, 16, 3), grey, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
    data = bytearray(file.read_bytes())
    for table, place in ((b"stsz", 12), (b"stts", 12), (b"stsc", 16)):
        at = data.index(table) + place
        data[at : at + 4] = struct.pack(">I", samples)
    sizes = data.index(b"stsz") + 8  # equal sizes, so that no table is required
    data[sizes : sizes + 4] = struct.pack(">I", 8)
    file.write_bytes(data)
    return file


def test_a_file_that_promises_too_much_is_refused_and_the_next_one_read(tmp_path: Path) -> None:
    decoder = Decoder(1, Limits(memory=800 << 20))
    with pytest.raises(UnusableVideo):
        decoder.scan(promise(tmp_path / "a.mov", 40_000_000))
    good = encode_painted(tmp_path / "b.mp4", "libx264", TWENTY, 25)
    assert numbers_of(decoder, good, [3, 19]) == [3, 19]


def test_a_file_that_takes_too_long_is_refused_and_the_next_one_read(tmp_path: Path) -> None:
    decoder = Decoder(1, Limits(processor_seconds=0.2))
    with pytest.raises(UnusableVideo, match="takes too long to decode"):
        decoder.scan(promise(tmp_path / "a.mov", 10_000_000))
    good = encode_painted(tmp_path / "b.mp4", "libx264", TWENTY, 25)
    assert numbers_of(decoder, good, [3, 19]) == [3, 19]


def test_a_decoder_that_crashes_is_replaced(tmp_path: Path) -> None:
    decoder = Decoder(1)
    good = encode_painted(tmp_path / "b.mp4", "libx264", TWENTY, 25)
    assert numbers_of(decoder, good, [0]) == [0]
    process = decoder._idle[0]._process
    crash = threading.Timer(0.2, process.send_signal, (signal.SIGSEGV,))
    crash.start()
    with pytest.raises(UnusableVideo, match="crash.*SIGSEGV"):
        decoder.scan(promise(tmp_path / "a.mov", 20_000_000))
    assert numbers_of(decoder, good, [3, 19]) == [3, 19]
    decoder._idle[0]._process.kill()  # an end between requests is not blamed on a file
    decoder._idle[0]._process.wait()
    assert numbers_of(decoder, good, [7]) == [7]


PARENT = """
import os, signal, sys
from pathlib import Path
from movinet.data.video.decoder import Decoder
decoder = Decoder(1)
decoder.scan(Path({file!r}))
print(decoder._idle[0]._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_decoders_end_with_the_process_that_asks(tmp_path: Path) -> None:
    file = encode_painted(tmp_path / "b.mp4", "libx264", TWENTY, 25)
    root = str(Path(__file__).parents[1])
    code = PARENT.format(file=str(file))
    parent = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    decoder = int(parent.stdout)
    deadline = time.monotonic() + 20
    while Path(f"/proc/{decoder}/cmdline").exists() and Path(f"/proc/{decoder}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_many_threads_ask_at_once(decoder: Decoder, tmp_path: Path) -> None:
    file = encode_painted(tmp_path / "a.mp4", "libx264", TWENTY, 25)
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda n: numbers_of(decoder, file, [n % 20]), range(40)))
    assert seen == [[n % 20] for n in range(40)]
    assert len(decoder._idle) <= 2


def test_it_pickles_as_a_new_one(decoder: Decoder, tmp_path: Path) -> None:
    file = encode_painted(tmp_path / "a.mp4", "libx264", TWENTY, 25)
    assert numbers_of(pickle.loads(pickle.dumps(decoder)), file, [5]) == [5]


def test_closing_ends_the_processes(tmp_path: Path) -> None:
    decoder = Decoder(1)
    decoder.scan(encode_painted(tmp_path / "a.mp4", "libx264", TWENTY, 25))
    process = decoder._idle[0]._process
    decoder.close()
    assert process.returncode is not None


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_rotated_video_is_upright(decoder: Decoder, tmp_path: Path, quarters: int) -> None:
    """The matrix in the track's header stores the angle by which to turn the frame clockwise."""
    file = encode_painted(tmp_path / "a.mp4", "libx264", TWENTY, 25)
    data = bytearray(file.read_bytes())
    cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarters]
    matrix = (cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    file.write_bytes(data)
    (frame,) = decoder.read(file, decoder.scan(file), np.array([11]), 48)
    assert frame.shape == ((48, 96, 3) if quarters % 2 == 0 else (96, 48, 3))
    assert painted_number(np.rot90(frame, quarters)) == 11
    assert np.abs(np.rot90(frame, quarters).astype(int)[::24, ::24] - paint(11)[::32, ::32]).max() < 60


def patch_jpeg_size(file: Path, height: int, width: int) -> Path:
    data = file.read_bytes()
    at = data.index(b"\xff\xc0") + 5
    old, new = data[at : at + 4], struct.pack(">HH", height, width)
    file.write_bytes(data.replace(b"\xff\xc0\x00\x11\x08" + old, b"\xff\xc0\x00\x11\x08" + new))
    return file


def test_a_frame_that_claims_a_huge_size_is_refused(tmp_path: Path) -> None:
    decoder = Decoder(1)
    file = patch_jpeg_size(encode_painted(tmp_path / "a.avi", "mjpeg", TWENTY, 25), 65500, 65500)
    with pytest.raises(UnusableVideo):
        decoder.read(file, decoder.scan(file), np.array([0]), 32)
    status = Path(f"/proc/{decoder._idle[0]._process.pid}/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0])
    assert peak < 200 << 10, "kB; a frame of 4e9 pixels takes 6e9 bytes"


def test_frames_that_would_take_too_much_are_refused(decoder: Decoder, tmp_path: Path) -> None:
    """Read a thin strip, enlarged to the requested short side, and many frames at once."""
    file = tmp_path / "a.mkv"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 8192, 2, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((2, 8192, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    timeline = decoder.scan(file)
    assert decoder.read(file, timeline, np.array([0])).shape == (1, 2, 8192, 3)
    with pytest.raises(UnusableVideo, match="would take"):
        decoder.read(file, timeline, np.array([0]), 224)
    many = encode_painted(tmp_path / "a.mp4", "libx264", TWENTY, 25)
    with pytest.raises(UnusableVideo, match="would take"):
        decoder.read(many, decoder.scan(many), np.arange(20), 4000)


def test_sound_with_a_cover_is_no_video(decoder: Decoder, tmp_path: Path) -> None:
    file = tmp_path / "a.mp3"
    with av.open(str(file), "w") as container:
        sound = container.add_stream("mp3", rate=44100, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 128, 64, "yuvj420p"
        container.mux(cover.encode(av.VideoFrame.from_ndarray(paint(3), format="rgb24")))
        container.mux(cover.encode())
        samples = np.zeros((1, 44100), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    with av.open(str(file)) as container:
        assert len(container.streams.video) == 1
    with pytest.raises(UnusableVideo, match="has no video stream"):
        decoder.scan(file)


def test_what_is_no_file_is_named(decoder: Decoder, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for file in (tmp_path / "missing.mp4", tmp_path, tmp_path / "pipe.mp4"):
        with pytest.raises(UnusableVideo, match="is not a file"):
            decoder.scan(file)


def test_a_video_cut_after_it_was_scanned_gives_its_last_frame_or_is_named(decoder: Decoder, tmp_path: Path) -> None:
    file = encode_painted(tmp_path / "a.mkv", "libx264", TWENTY, 25)
    timeline = decoder.scan(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 3 // 4])
    try:
        seen = painted_number(decoder.read(file, timeline, np.array([19]))[0])
    except UnusableVideo:
        pass
    else:
        assert 5 < seen <= 19


def test_distant_frames_are_reached_by_key_frames(decoder: Decoder, tmp_path: Path) -> None:
    """Frames between the requested ones are not decoded in a long video."""
    times = [Fraction(n, 25) for n in range(256)]
    file = encode_painted(tmp_path / "a.mp4", "libx264", times * 1, 25, gop=8)
    timeline = decoder.scan(file)
    assert len(timeline.keys) >= 32
    assert numbers_of(decoder, file, [255, 0, 128, 127, 129, 64]) == [255, 0, 128, 127, 129, 64]


def test_an_open_group_of_pictures_is_read_right(decoder: Decoder, tmp_path: Path) -> None:
    """Frames shown before a key frame but coded after it require the preceding group."""
    times = [Fraction(n, 25) for n in range(60)]
    options = {"x264-params": "open-gop=1:bframes=3:keyint=10:min-keyint=10:b-adapt=0:scenecut=0"}
    for suffix in ("mp4", "mkv", "ts"):
        file = encode_painted(tmp_path / f"a.{suffix}", "libx264", times, 25, gop=10, **options)
        for n in range(0, 60, 1):
            assert numbers_of(decoder, file, [n]) == [n]


def test_a_stream_without_timestamps_is_counted_also_at_a_rate(decoder: Decoder, tmp_path: Path) -> None:
    """Raw H.264 has no timestamps, and FFmpeg assumes 25 frames/s. The second half is larger, and is resized."""
    file = encode_painted(tmp_path / "a.h264", "libx264", TWENTY, 25)
    large = tmp_path / "b.h264"
    with av.open(str(large), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 256, 128, "yuv420p"
        for number in range(20, 40):
            image = paint(number).repeat(2, 0).repeat(2, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    file.write_bytes(file.read_bytes() + large.read_bytes())
    timeline = decoder.scan(file)
    assert timeline.counted and len(timeline) == 40
    frames = decoder.read(file, timeline, timeline.numbers(Fraction(5)))
    assert frames.shape[1:] == (64, 128, 3)
    assert [painted_number(frame) for frame in frames] == [0, 5, 10, 15, 20, 25, 30, 35]
