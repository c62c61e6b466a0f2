"""Test frames, crops and other changes of clips against Model Garden values (tests/recorded/release_augment.py)."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded.release_augment import NAMES_OF_ARGUMENT, fixed_clip

from movinet.training.input import augment, autoaugment
from movinet.training.input.autoaugment_policies import policy
from search_space.base.errors import InputError

RECORDED = dict(np.load(Path(__file__).parent / "recorded" / "release_augment.npz"))
CLIP = fixed_clip()
CHANGES = [(name, value) for name, values in NAMES_OF_ARGUMENT.items() for value in values]


def seed(number: int) -> tf.Tensor:
    return tf.constant([3, number], tf.int64)


@pytest.mark.parametrize(("name", "value"), CHANGES)
def test_an_operation_with_an_argument_is_the_releases(name, value):
    ours = autoaugment.operations(250)[name].apply(tf.constant(CLIP), tf.constant(value, tf.float32))
    assert ours.dtype == tf.uint8
    assert np.abs(ours.numpy().astype(int) - RECORDED[f"{name} {value}"]).max() <= (name == "Sharpness")


@pytest.mark.parametrize("name", ["AutoContrast", "Equalize", "Invert"])
def test_an_operation_without_argument_is_the_releases(name):
    assert np.array_equal(autoaugment.operations(250)[name].apply(tf.constant(CLIP)), RECORDED[name])


def test_what_cannot_be_stretched_stays():
    flat = tf.fill([2, 8, 8, 3], tf.constant(77, tf.uint8))
    assert np.array_equal(autoaugment.autocontrast(flat), flat)
    assert np.array_equal(autoaugment.equalize(flat), flat)


def test_levels_become_the_releases_arguments():
    known = autoaugment.operations(250)
    arguments = {"Rotate": 24, "ShearX": 0.24, "TranslateY": 200, "Posterize": 3, "Solarize": 204, "Color": 1.54}
    assert {name: known[name].argument(8) for name in arguments} == pytest.approx(arguments)
    assert known["SolarizeAdd"].argument(3) == 33 and known["Posterize"].argument(2) == 0


@pytest.mark.parametrize(
    "name", ["v0", "simple", "test", "reduced_cifar10", "svhn", "reduced_imagenet", "panoptic_deeplab_policy", "vit"]
)
def test_policies_name_known_operations(name):
    known = {*autoaugment.operations(250), "Cutout"}
    for row in policy(name):
        for operation, chance, level in row:
            assert operation in known and 0 <= chance <= 1 and 0 <= level <= 10
    assert len(policy(name)) == {"test": 1, "simple": 13, "panoptic_deeplab_policy": 5, "vit": 9}.get(name, 25)


def test_an_unknown_policy_is_named():
    with pytest.raises(InputError, match="v1.*must be one of v0, simple"):
        policy("v1")


def test_a_policy_changes_clips_as_its_operations_do():
    rows = ((("Invert", 1.0, 0.0),), (("Solarize", 0.0, 3.0), ("Posterize", 1.0, 6.0)))
    change = tf.function(lambda key: autoaugment.auto_augment(tf.constant(CLIP), rows, key))
    expected = [255 - CLIP, RECORDED["Posterize 2"]]
    found = [[np.array_equal(change(seed(n)), one) for one in expected] for n in range(40)]
    assert all(sum(hit) == 1 for hit in found)
    assert 8 < sum(hit[0] for hit in found) < 32


def test_a_change_is_the_same_for_all_frames_and_from_the_same_seed():
    still = np.repeat(CLIP[:1], 4, axis=0)
    change = tf.function(lambda key: autoaugment.auto_augment(tf.constant(still), policy("v0"), key))
    changed = [change(seed(n)).numpy() for n in range(60)]
    assert all((clip == clip[:1]).all() for clip in changed)
    assert len({clip.tobytes() for clip in changed}) > 25
    assert all(np.array_equal(changed[n], change(seed(n))) for n in (0, 7, 31))


def test_randaugment_draws_every_operation_but_the_excluded():
    clip, names = tf.constant(CLIP), set(autoaugment.RANDAUGMENT)
    change = tf.function(lambda key: autoaugment.rand_augment(clip, key, 1, 9, exclude=("Invert", "Cutout")))
    seen = {change(seed(n)).numpy().tobytes() for n in range(150)}
    assert CLIP.tobytes() in seen and (255 - CLIP).tobytes() not in seen
    assert len(names) == 16 and len(seen) >= 12
    never = tf.function(lambda key: autoaugment.rand_augment(clip, key, 2, chance=0.0))
    assert np.array_equal(never(seed(1)), CLIP)


@settings(max_examples=25)
@given(st.integers(0, 10**9), st.sampled_from([(1, 4, 4), (2, 13, 17), (9, 32, 20)]))
def test_a_cutout_is_one_grey_box_of_its_size(number, shape):
    clip = tf.zeros([*shape, 3], tf.uint8)
    cut = np.argwhere(autoaugment.cutout(clip, seed(number)).numpy()[..., 0] == autoaugment.GREY)
    extent = cut.max(axis=0) - cut.min(axis=0) + 1
    assert len(cut) == np.prod(extent)
    assert (extent <= 2 * np.maximum(1, np.array(shape) // [4, 2, 2])).all()


@pytest.mark.parametrize("side", [9, 13, 20])
def test_the_short_side_is_resized_as_in_the_release(side):
    assert np.array_equal(augment.resize_short_side(tf.constant(CLIP), side), RECORDED[f"resize {side}"])


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (15, 15)])
def test_the_centre_crop_is_the_releases(size):
    assert np.array_equal(augment.crops(tf.constant(CLIP), size, 1)[0], RECORDED[f"crop {size[0]} {size[1]}"])


@pytest.mark.parametrize("form", ["wide", "tall"])
def test_three_crops_are_the_releases(form):
    clip = CLIP if form == "wide" else CLIP.swapaxes(1, 2)
    assert np.array_equal(
        tf.concat(tf.unstack(augment.crops(tf.constant(clip), (10, 10), 3)), 0), RECORDED[f"crops {form}"]
    )


def test_pixels_are_the_releases():
    assert np.array_equal(augment.pixels(tf.constant(CLIP), False), RECORDED["pixels"])
    assert np.array_equal(augment.pixels(tf.constant(CLIP), True), RECORDED["zero-centred pixels"])
    assert augment.pixels(tf.constant(CLIP), False, tf.bfloat16).dtype == tf.bfloat16


@pytest.mark.parametrize(("count", "sampling"), [*itertools.product((1, 7, 40, 300), ((8, 1), (8, 5), (50, 5)))])
def test_frames_for_evaluation_are_the_releases(count, sampling):
    assert np.array_equal(
        augment.centre_frames(count, *sampling, loop=True), RECORDED[f"centre {count} {sampling[0]} {sampling[1]}"]
    )
    for clips in (3, 10):
        even = augment.even_frames(count, *sampling, clips, loop=True)
        assert np.array_equal(np.ravel(even), RECORDED[f"even {count} {sampling[0]} {sampling[1]} {clips}"])
    assert np.array_equal(
        augment.even_frames(count, *sampling, 1, loop=True)[0], augment.centre_frames(count, *sampling, loop=True)
    )


@pytest.mark.parametrize("count", [12, 35, 36, 40])
def test_training_starts_where_the_release_does(count):
    draw = tf.function(lambda key: augment.random_frames(count, 8, 5, 0, True, key))
    clips = np.array([draw(seed(n)) for n in range(400)])
    assert sorted(set(clips[:, 0].tolist())) == RECORDED[f"starts {count} 8 5"].tolist()
    assert np.array_equal(clips, (clips[:, :1] + 5 * np.arange(8)) % count)


@pytest.mark.parametrize(
    ("stride", "spread", "strides"), [(5, 1, {4, 5}), (2, 1, {1, 2}), (1, 1, {1}), (3, 3, {1, 2, 3, 4, 5})]
)
def test_the_stride_varies_as_in_the_release(stride, spread, strides):
    draw = tf.function(lambda key: augment.random_frames(500, 4, stride, spread, True, key))
    steps = np.array([np.diff(draw(seed(n))) for n in range(60)])
    assert (steps == steps[:, :1]).all() and set(steps[:, 0].tolist()) == strides


def test_a_short_video_is_padded_with_its_last_frame_if_asked():
    assert augment.centre_frames(5, 4, 2, loop=False).numpy().tolist() == [0, 2, 4, 4]
    assert augment.centre_frames(5, 4, 2, loop=True).numpy().tolist() == [0, 2, 4, 1]
    for number in range(5):
        assert augment.random_frames(5, 4, 2, 0, False, seed(number)).numpy().tolist() == [0, 2, 4, 4]


@settings(max_examples=20)
@given(st.integers(0, 10**9), st.integers(8, 60), st.integers(8, 60))
def test_a_crop_is_a_part_of_the_picture_within_its_ranges(number, height, width):
    """Crop an image of its own coordinates; the crop keeps their slopes."""
    rows, columns = np.mgrid[0:height, 0:width]
    picture = tf.constant(np.stack([rows, columns, rows], -1)[None].repeat(2, 0), tf.float32)
    crop = augment.random_resized_crop(picture, (10, 20), (0.3, 0.8), (0.8, 1.25), seed(number)).numpy()
    assert crop.shape == (2, 10, 20, 3) and np.array_equal(crop[0], crop[1])
    tall, wide = np.ptp(crop[0, :, :, 0]) * 10 / 9, np.ptp(crop[0, :, :, 1]) * 20 / 19
    assert tall <= height + 1 and wide <= width + 1


def test_area_and_aspect_of_crops_fill_their_ranges():
    rows, columns = np.mgrid[0:200, 0:300].astype(np.float32)
    picture = tf.constant(np.stack([rows, columns, rows], -1)[None])
    draw = tf.function(lambda key: augment.random_resized_crop(picture, (64, 64), (0.08, 1.0), (0.5, 2.0), key))
    crops = np.array([draw(seed(n))[0] for n in range(200)])
    tall, wide = np.ptp(crops[..., 0], axis=(1, 2)) * 64 / 63, np.ptp(crops[..., 1], axis=(1, 2)) * 64 / 63
    area, aspect = tall * wide / 60000, wide / tall
    assert 0.07 < area.min() < 0.15 and area.max() > 0.7
    assert 0.45 < aspect.min() < 0.65 and 1.6 < aspect.max() < 2.1


def test_flips_and_turns_move_whole_clips():
    clip = tf.constant(CLIP)
    flips = [augment.random_flip(clip, seed(n)).numpy() for n in range(30)]
    sides = [np.array_equal(flip, CLIP) for flip in flips]
    assert all(same or np.array_equal(flip, CLIP[:, :, ::-1]) for same, flip in zip(sides, flips, strict=True))
    assert 5 < sum(sides) < 25
    square = tf.constant(CLIP[:, :, :13])
    turns = {augment.random_rotation(square, seed(n)).numpy().tobytes() for n in range(40)}
    assert turns == {np.rot90(CLIP[:, :, :13], turn, (1, 2)).tobytes() for turn in range(4)}
