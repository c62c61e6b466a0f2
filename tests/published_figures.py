"""Published values of the Model Garden networks at 600 classes."""

from __future__ import annotations

# Multiply-adds of a published clip; parameters of the Kinetics-600 base checkpoints: trainable, and with the moving
# statistics of batch normalization.
BASE_FIGURES = {
    "a0": (2_630_733_808, 3_111_799, 3_126_071),
    "a1": (5_865_612_704, 4_690_296, 4_717_912),
    "a2": (11_558_071_168, 5_249_562, 5_280_922),
    "a3": (55_593_197_440, 7_397_545, 7_443_289),
    "a4": (103_338_794_368, 11_349_463, 11_422_727),
    "a5": (276_334_081_024, 18_650_523, 18_763_355),
}
# Parameters of the stream models, counted in the same way. Those of A5 come from Model Garden code, as no checkpoint is
# published.
STREAM_PARAMETERS = {
    "a0": (3_748_031, 3_765_983),
    "a1": (6_447_352, 6_481_560),
    "a2": (7_326_962, 7_366_050),
    "a3": (10_986_618, 11_043_146),
    "a4": (18_136_182, 18_228_326),
    "a5": (31_495_934, 31_636_734),
}
