"""One step on all replicas of a `tf.distribute` strategy, and who of several workers writes; used by notebook 10."""

import threading

import keras
import tensorflow as tf

from dcgan_utils import METRICS
from lab.step_parts import with_weight


def is_chief():
    """True for the one process that writes, prints and tracks; false for the other workers."""
    return tf.distribute.get_strategy().extended.should_checkpoint


def wait_for_all_workers():
    """Return when all workers have come this far."""
    strategy = tf.distribute.get_strategy()
    strategy.reduce("SUM", strategy.run(lambda: tf.ones([])), axis=None).numpy()


def replica_share(*batch):
    """This replica's part of a batch, under `tf.distribute`: `(parts, share)`; all of it, and 1, without.

    From tensors of the same first axis, one entry an image of the global batch: each tensor's entries for this replica,
    and their share of the batch, a float32 scalar. Gradients are summed over the replicas, so times its share a
    replica's mean loss becomes a part of the mean over the global batch.
    """
    replica, count = tf.distribute.get_replica_context(), tf.shape(batch[0])[0]
    if replica.num_replicas_in_sync == 1:
        return batch, tf.ones([], keras.config.floatx())
    first, end = (count * (replica.replica_id_in_sync_group + i) // replica.num_replicas_in_sync for i in (0, 1))
    return tuple(tensor[first:end] for tensor in batch), tf.cast((end - first) / count, keras.config.floatx())


def on_all_replicas(make_step, losses, after_step=lambda step: None):
    """A train step in which each replica of the present strategy takes its part of the batch.

    Args:
        make_step: called with two losses, returns a `train_step` as `dcgan_utils.make_train_step` does.
        losses: the discriminator's loss and the generator's; a replica's count by its share of the batch.
        after_step: what is to be done after each step, on each replica.

    Returns:
        `(train_step, after_step)`, to be handed to `dcgan_utils.make_steps`; metrics are means over the whole batch.
    """
    strategy, this_replica = tf.distribute.get_strategy(), threading.local()  # each replica is traced in its own thread
    train_step = make_step([with_weight(loss, lambda gradient: gradient * this_replica.share) for loss in losses])

    def step_of_replica(*batch):  # real images and noise, or each of them with labels
        parts, this_replica.share = replica_share(*tf.nest.flatten(batch))
        batch = tf.nest.pack_sequence_as(batch, parts)
        metrics = train_step.python_function(*batch)  # within a tf.function of its own they could exchange nothing
        return this_replica.share * tf.stack([tf.cast(metrics[name], keras.config.floatx()) for name in METRICS])

    def step_of_all(real, noise):
        metrics = strategy.reduce("SUM", strategy.run(step_of_replica, (real, noise)), axis=None)
        return dict(zip(METRICS, tf.unstack(metrics)))

    return step_of_all, lambda step: strategy.run(after_step, (step,))


def check_replicas(generator, smallest_batch, generator_every, discriminator_every):
    """Refuse what cannot be trained on the replicas of the present `tf.distribute` strategy."""
    strategy = tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    if not strategy.extended.variable_created_in_scope(generator.weights[0].value):
        raise ValueError("nets and training belong to different strategies: build the nets and call train within the "
                         "same strategy.scope().")
    if smallest_batch < replicas:
        raise ValueError(f"the last batch of an epoch holds {smallest_batch} images, too few for {replicas} replicas; "
                         "choose another batch_size.")
    if replicas > 1 and max(generator_every, discriminator_every) > 1:
        raise ValueError(f"generator_every is {generator_every}, discriminator_every is {discriminator_every}; wanted "
                         "1 with several replicas, since TensorFlow cannot skip an update there.")
