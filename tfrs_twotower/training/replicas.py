"""The same functions for one replica and for several.

In-batch negatives are shared, so every replica needs the candidates of all replicas. Gradients flow
back through the gathering: the gradient of another replica's loss with respect to a candidate
reaches the replica that embedded it.
"""

from typing import Any, TypeVar

import tensorflow as tf

from tfrs_twotower.config import FittingConfig
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.training import workers

_Config = TypeVar("_Config", bound=FittingConfig)


def make_strategy(replicas: int) -> tf.distribute.Strategy | None:
    """Makes a MirroredStrategy over `replicas` devices; None for one replica.

    It uses GPUs if there are enough; otherwise it divides the CPU into logical devices. A process
    of a cluster (`workers`) has the cluster's strategy.

    Raises:
        TrainingError: there are fewer devices.
    """
    if (strategy := workers.join()) is not None:
        return strategy
    if replicas == 1:
        return None
    reserve_devices(replicas)
    enough_gpus = len(tf.config.list_physical_devices("GPU")) >= replicas
    devices = tf.config.list_logical_devices("GPU" if enough_gpus else "CPU")
    return tf.distribute.MirroredStrategy(
        [device.name for device in devices[:replicas]],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )


def reserve_devices(replicas: int) -> None:
    """Divides the CPU into as many logical devices as there are replicas, if GPUs are too few.

    TensorFlow divides it only before its first tensor is made in a process. Whatever trains in a
    process that has other things to do first, such as reading the corpus, therefore asks for its
    devices, or joins its cluster, at the start.

    Raises:
        TrainingError: TensorFlow is already in use, and there are fewer devices.
    """
    if workers.join() is not None:
        return
    if len(tf.config.list_physical_devices("GPU")) >= replicas or replicas == 1:
        return
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * replicas
    try:
        present = tf.config.get_logical_device_configuration(cpu)
        if present is None or len(present) < replicas:
            tf.config.set_logical_device_configuration(cpu, devices)
    except RuntimeError as cause:
        raise TrainingError(
            f"training.replicas is {replicas}, but TensorFlow sees "
            f"{len(tf.config.list_physical_devices('GPU'))} GPUs, and the CPU can no longer be "
            "divided, because TensorFlow is already in use in this process. Train in a process of "
            "its own, or with fewer replicas."
        ) from cause


def with_all_replicas(config: _Config, strategy: tf.distribute.Strategy | None) -> _Config:
    """The config with as many replicas as the strategy has, those of other processes among them.

    Raises:
        TrainingError: they cannot divide a batch among them.
    """
    if strategy is None:
        return config
    replicas = strategy.num_replicas_in_sync
    if config.batch_size % replicas:
        raise TrainingError(
            f"training.batch_size is {config.batch_size}, which {replicas} replicas cannot divide "
            "among them. Set it to a multiple of their number."
        )
    return config.model_copy(update={"replicas": replicas})


def num_replicas() -> int:
    """Returns the number of replicas in step with this one."""
    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def replica_id() -> tf.Tensor:
    """Returns the number of this replica, an int32 scalar."""
    if num_replicas() == 1:
        return tf.constant(0, tf.int32)
    context = tf.distribute.get_replica_context()
    return tf.cast(context.replica_id_in_sync_group, tf.int32)


def all_gather(values: tf.Tensor) -> tf.Tensor:
    """Joins the tensors of all replicas along their first axis, in the order of the replicas."""
    if num_replicas() == 1:
        return values
    # What a step is given is on no device yet, and a strategy of several processes asks for one.
    return tf.distribute.get_replica_context().all_gather(tf.identity(values), axis=0)


def sum_over_replicas(values: tf.Tensor) -> tf.Tensor:
    """Adds up the tensors of all replicas."""
    if num_replicas() == 1:
        return values
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, values)


def own_share(values: tf.Tensor) -> tf.Tensor:
    """Returns this replica's part, along the first axis, of a tensor that all replicas hold."""
    replicas = num_replicas()
    if replicas == 1:
        return values
    total = tf.shape(values)[0]
    return values[replica_id() * total // replicas : (replica_id() + 1) * total // replicas]


def spread(strategy: tf.distribute.Strategy, batch: dict[str, Any]) -> dict[str, Any]:
    """Cuts this process's batch of arrays along the first axis into one for each replica in it."""
    replicas = len(strategy.extended.worker_devices)

    def part(context: Any) -> Any:
        index = context.replica_id_in_sync_group % replicas

        def cut(values: Any) -> Any:
            size = len(values) // replicas
            return tf.convert_to_tensor(values[index * size : (index + 1) * size])

        return tf.nest.map_structure(cut, batch)

    return strategy.experimental_distribute_values_from_function(part)
