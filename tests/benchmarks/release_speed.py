"""Times the released implementation; runs in its own environment (`pip install tf-models-official`), prints JSON.

Used by `speed.py`; one network a process, because the figures include what a process pays once.
"""

import json
import os
import statistics
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")


def main() -> None:
    """Reads a request from the first argument: {network, conv_type, batch, frames, resolution, classes, steps}."""
    request = json.loads(sys.argv[1])
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from official.projects.movinet.modeling import movinet, movinet_model

    if isinstance(request["network"], dict):
        movinet.BLOCK_SPECS["candidate"] = _block_specs(movinet, request["network"])
        name = "candidate"
    else:
        name = request["network"]
    shape = [request["batch"], request["frames"], request["resolution"], request["resolution"], 3]
    images = tf.random.stateless_uniform(shape, [0, 1])
    labels = tf.range(request["batch"]) % request["classes"]

    start = time.process_time()
    backbone = movinet.Movinet(model_id=name, conv_type=request["conv_type"], causal=False)
    model = movinet_model.MovinetClassifier(backbone, num_classes=request["classes"])
    model.build(shape)
    optimizer = tf.keras.optimizers.legacy.RMSprop(1e-3)
    loss_of = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return loss

    float(step(images, labels))
    first = time.process_time() - start
    times = []
    for _ in range(request["steps"]):
        start = time.process_time()
        float(step(images, labels))
        times.append(time.process_time() - start)
    print(json.dumps({"first": first, "step": statistics.median(times) if times else None}))


def _block_specs(movinet, network: dict) -> tuple:
    """A searched network in the release's own table."""
    blocks = [
        movinet.MovinetBlockSpec(
            base_filters=block["width"],
            expand_filters=tuple(layer["expand"] for layer in block["layers"]),
            kernel_sizes=tuple(tuple(layer["kernel"]) for layer in block["layers"]),
            strides=tuple((1, block["stride"] if i == 0 else 1, block["stride"] if i == 0 else 1)
                          for i in range(len(block["layers"]))),
        )
        for block in network["blocks"]
    ]
    return (
        movinet.StemSpec(filters=network["stem"]["width"], kernel_size=(1, 3, 3), strides=(1, 2, 2)),
        *blocks,
        movinet.HeadSpec(project_filters=network["head"]["project"], head_filters=network["head"]["dense"]),
    )


if __name__ == "__main__":
    main()
