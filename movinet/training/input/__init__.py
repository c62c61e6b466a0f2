"""Batches of clips for training and evaluation, as tf.data.

batches          from any source; every example a function of the seed and its number
examples         which video an example is, and which of its frames
record_examples  the same of TFRecords and TensorFlow Datasets
records          TFRecords of the release's form, written
augment          what is done to the pixels of a clip; autoaugment and its autoaugment_policies
"""
