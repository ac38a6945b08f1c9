import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from smalti.v1 import jobs_pb2 as _jobs_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Weight(_message.Message):
    __slots__ = ("client", "weight")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    client: str
    weight: float
    def __init__(self, client: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class ListWeightsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListWeightsResponse(_message.Message):
    __slots__ = ("weights",)
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    weights: _containers.RepeatedCompositeFieldContainer[Weight]
    def __init__(self, weights: _Optional[_Iterable[_Union[Weight, _Mapping]]] = ...) -> None: ...

class SetWeightRequest(_message.Message):
    __slots__ = ("weight",)
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    weight: Weight
    def __init__(self, weight: _Optional[_Union[Weight, _Mapping]] = ...) -> None: ...

class SetWeightResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatisticsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatisticsResponse(_message.Message):
    __slots__ = ("paused", "queued_jobs", "running_jobs", "paused_jobs", "ready_samples", "running_samples", "dead_samples", "oldest_seconds", "workers", "clients")
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    QUEUED_JOBS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_JOBS_FIELD_NUMBER: _ClassVar[int]
    PAUSED_JOBS_FIELD_NUMBER: _ClassVar[int]
    READY_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    RUNNING_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    DEAD_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    OLDEST_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    paused: bool
    queued_jobs: int
    running_jobs: int
    paused_jobs: int
    ready_samples: int
    running_samples: int
    dead_samples: int
    oldest_seconds: float
    workers: _containers.RepeatedCompositeFieldContainer[WorkerStatus]
    clients: _containers.RepeatedCompositeFieldContainer[ClientStatus]
    def __init__(self, paused: _Optional[bool] = ..., queued_jobs: _Optional[int] = ..., running_jobs: _Optional[int] = ..., paused_jobs: _Optional[int] = ..., ready_samples: _Optional[int] = ..., running_samples: _Optional[int] = ..., dead_samples: _Optional[int] = ..., oldest_seconds: _Optional[float] = ..., workers: _Optional[_Iterable[_Union[WorkerStatus, _Mapping]]] = ..., clients: _Optional[_Iterable[_Union[ClientStatus, _Mapping]]] = ...) -> None: ...

class WorkerStatus(_message.Message):
    __slots__ = ("name", "fingerprint", "slots", "held", "lease_seconds", "draining", "digests")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    LEASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    fingerprint: str
    slots: int
    held: int
    lease_seconds: float
    draining: bool
    digests: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., fingerprint: _Optional[str] = ..., slots: _Optional[int] = ..., held: _Optional[int] = ..., lease_seconds: _Optional[float] = ..., draining: _Optional[bool] = ..., digests: _Optional[_Iterable[str]] = ...) -> None: ...

class ClientStatus(_message.Message):
    __slots__ = ("name", "jobs", "ready", "running", "pixels", "bytes", "weight")
    NAME_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    PIXELS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    name: str
    jobs: int
    ready: int
    running: int
    pixels: int
    bytes: int
    weight: float
    def __init__(self, name: _Optional[str] = ..., jobs: _Optional[int] = ..., ready: _Optional[int] = ..., running: _Optional[int] = ..., pixels: _Optional[int] = ..., bytes: _Optional[int] = ..., weight: _Optional[float] = ...) -> None: ...

class PausePoolRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PausePoolResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ResumePoolRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ResumePoolResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DrainWorkerRequest(_message.Message):
    __slots__ = ("worker",)
    WORKER_FIELD_NUMBER: _ClassVar[int]
    worker: str
    def __init__(self, worker: _Optional[str] = ...) -> None: ...

class DrainWorkerResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListDeadRequest(_message.Message):
    __slots__ = ("job", "limit")
    JOB_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    job: str
    limit: int
    def __init__(self, job: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ListDeadResponse(_message.Message):
    __slots__ = ("samples",)
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    samples: _containers.RepeatedCompositeFieldContainer[DeadSample]
    def __init__(self, samples: _Optional[_Iterable[_Union[DeadSample, _Mapping]]] = ...) -> None: ...

class DeadSample(_message.Message):
    __slots__ = ("job", "index", "client", "failed", "rows", "error")
    JOB_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    job: str
    index: int
    client: str
    failed: _timestamp_pb2.Timestamp
    rows: int
    error: str
    def __init__(self, job: _Optional[str] = ..., index: _Optional[int] = ..., client: _Optional[str] = ..., failed: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., rows: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class RetryRequest(_message.Message):
    __slots__ = ("job", "index")
    JOB_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    job: str
    index: int
    def __init__(self, job: _Optional[str] = ..., index: _Optional[int] = ...) -> None: ...

class RetryResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _jobs_pb2.Job
    def __init__(self, job: _Optional[_Union[_jobs_pb2.Job, _Mapping]] = ...) -> None: ...

class AuditRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AuditResponse(_message.Message):
    __slots__ = ("repairs",)
    class RepairsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    REPAIRS_FIELD_NUMBER: _ClassVar[int]
    repairs: _containers.ScalarMap[str, int]
    def __init__(self, repairs: _Optional[_Mapping[str, int]] = ...) -> None: ...
