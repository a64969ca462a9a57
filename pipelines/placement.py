"""Where and how a step runs on Kubernetes; a laptop takes no notice of it."""

from kfp import dsl, kubernetes

HOME = "/var/lib/carryflow"
"""Where every step finds the shared volume."""

HOME_CLAIM = "carryflow-home"
"""The volume claim (ReadWriteMany) of data, feature store and registry."""

STORE_MAP = "carryflow-store"
"""The config map that says where the cluster's feature store is; the predictor reads the same."""

STORE_KEYS = ("CARRYFLOW_FEATURE_STORE", "CARRYFLOW_HOME", "CARRYFLOW_OFFLINE", "CARRYFLOW_REDIS")

STORAGE_SECRET = "carryflow-object-storage"  # noqa: S105 - the name of one
"""The secret with the way to object storage; not needed unless `CARRYFLOW_OFFLINE` names a prefix there."""

STORAGE_KEYS = ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")

USER = 1000
"""The user that the images run as."""


def place(task: dsl.PipelineTask, cpu: str, memory: str, timeout_minutes: int) -> dsl.PipelineTask:
    """Give a step its volume, its size, its limit in time and the restricted security context.

    No retries: a step retries inside itself what is worth retrying, and a failed run is submitted again,
    which takes the finished steps from the cache.
    """
    task.set_cpu_request(cpu).set_cpu_limit(cpu).set_memory_request(memory).set_memory_limit(memory)
    kubernetes.mount_pvc(task, pvc_name=HOME_CLAIM, mount_path=HOME)
    kubernetes.use_config_map_as_env(task, STORE_MAP, {key: key for key in STORE_KEYS})
    kubernetes.use_secret_as_env(task, STORAGE_SECRET, {key: key for key in STORAGE_KEYS}, optional=True)
    kubernetes.set_timeout(task, seconds=timeout_minutes * 60)
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    return task
