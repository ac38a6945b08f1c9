from smalti.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ScoreKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCORE_KIND_UNSPECIFIED: _ClassVar[ScoreKind]
    SCORE_KIND_LOG_LIKELIHOOD: _ClassVar[ScoreKind]
    SCORE_KIND_ELBO: _ClassVar[ScoreKind]
    SCORE_KIND_REAL_PROBABILITY: _ClassVar[ScoreKind]
SCORE_KIND_UNSPECIFIED: ScoreKind
SCORE_KIND_LOG_LIKELIHOOD: ScoreKind
SCORE_KIND_ELBO: ScoreKind
SCORE_KIND_REAL_PROBABILITY: ScoreKind

class DrawRequest(_message.Message):
    __slots__ = ("model", "count", "seed", "first_index", "format")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    FIRST_INDEX_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    model: _types_pb2.ModelVersion
    count: int
    seed: int
    first_index: int
    format: _types_pb2.ImageFormat
    def __init__(self, model: _Optional[_Union[_types_pb2.ModelVersion, _Mapping]] = ..., count: _Optional[int] = ..., seed: _Optional[int] = ..., first_index: _Optional[int] = ..., format: _Optional[_Union[_types_pb2.ImageFormat, str]] = ...) -> None: ...

class DrawResponse(_message.Message):
    __slots__ = ("model", "seed", "images")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    model: _types_pb2.ModelVersion
    seed: int
    images: _containers.RepeatedCompositeFieldContainer[_types_pb2.Image]
    def __init__(self, model: _Optional[_Union[_types_pb2.ModelVersion, _Mapping]] = ..., seed: _Optional[int] = ..., images: _Optional[_Iterable[_Union[_types_pb2.Image, _Mapping]]] = ...) -> None: ...

class Completion(_message.Message):
    __slots__ = ("image", "rows", "mask")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    image: _types_pb2.Image
    rows: int
    mask: bytes
    def __init__(self, image: _Optional[_Union[_types_pb2.Image, _Mapping]] = ..., rows: _Optional[int] = ..., mask: _Optional[bytes] = ...) -> None: ...

class DrawStreamRequest(_message.Message):
    __slots__ = ("model", "seed", "index", "temperature", "completion", "format")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    model: _types_pb2.ModelVersion
    seed: int
    index: int
    temperature: float
    completion: Completion
    format: _types_pb2.ImageFormat
    def __init__(self, model: _Optional[_Union[_types_pb2.ModelVersion, _Mapping]] = ..., seed: _Optional[int] = ..., index: _Optional[int] = ..., temperature: _Optional[float] = ..., completion: _Optional[_Union[Completion, _Mapping]] = ..., format: _Optional[_Union[_types_pb2.ImageFormat, str]] = ...) -> None: ...

class DrawStreamResponse(_message.Message):
    __slots__ = ("started", "rows", "finished")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    started: DrawStarted
    rows: DrawnRows
    finished: DrawFinished
    def __init__(self, started: _Optional[_Union[DrawStarted, _Mapping]] = ..., rows: _Optional[_Union[DrawnRows, _Mapping]] = ..., finished: _Optional[_Union[DrawFinished, _Mapping]] = ...) -> None: ...

class DrawStarted(_message.Message):
    __slots__ = ("model", "seed", "job_id", "height", "width", "colour_change")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    COLOUR_CHANGE_FIELD_NUMBER: _ClassVar[int]
    model: _types_pb2.ModelVersion
    seed: int
    job_id: str
    height: int
    width: int
    colour_change: _types_pb2.ColourChange
    def __init__(self, model: _Optional[_Union[_types_pb2.ModelVersion, _Mapping]] = ..., seed: _Optional[int] = ..., job_id: _Optional[str] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., colour_change: _Optional[_Union[_types_pb2.ColourChange, _Mapping]] = ...) -> None: ...

class DrawnRows(_message.Message):
    __slots__ = ("first_row", "indices")
    FIRST_ROW_FIELD_NUMBER: _ClassVar[int]
    INDICES_FIELD_NUMBER: _ClassVar[int]
    first_row: int
    indices: bytes
    def __init__(self, first_row: _Optional[int] = ..., indices: _Optional[bytes] = ...) -> None: ...

class DrawFinished(_message.Message):
    __slots__ = ("image", "log_probability")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    LOG_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    image: _types_pb2.Image
    log_probability: float
    def __init__(self, image: _Optional[_Union[_types_pb2.Image, _Mapping]] = ..., log_probability: _Optional[float] = ...) -> None: ...

class EncodeRequest(_message.Message):
    __slots__ = ("model", "images")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    model: _types_pb2.ModelVersion
    images: _containers.RepeatedCompositeFieldContainer[_types_pb2.Image]
    def __init__(self, model: _Optional[_Union[_types_pb2.ModelVersion, _Mapping]] = ..., images: _Optional[_Iterable[_Union[_types_pb2.Image, _Mapping]]] = ...) -> None: ...

class EncodeResponse(_message.Message):
    __slots__ = ("model", "means", "log_deviations", "colour_change")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MEANS_FIELD_NUMBER: _ClassVar[int]
    LOG_DEVIATIONS_FIELD_NUMBER: _ClassVar[int]
    COLOUR_CHANGE_FIELD_NUMBER: _ClassVar[int]
    model: _types_pb2.ModelVersion
    means: _containers.RepeatedCompositeFieldContainer[_types_pb2.Latent]
    log_deviations: _containers.RepeatedCompositeFieldContainer[_types_pb2.Latent]
    colour_change: _types_pb2.ColourChange
    def __init__(self, model: _Optional[_Union[_types_pb2.ModelVersion, _Mapping]] = ..., means: _Optional[_Iterable[_Union[_types_pb2.Latent, _Mapping]]] = ..., log_deviations: _Optional[_Iterable[_Union[_types_pb2.Latent, _Mapping]]] = ..., colour_change: _Optional[_Union[_types_pb2.ColourChange, _Mapping]] = ...) -> None: ...

class DecodeRequest(_message.Message):
    __slots__ = ("model", "latents", "format")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    model: _types_pb2.ModelVersion
    latents: _containers.RepeatedCompositeFieldContainer[_types_pb2.Latent]
    format: _types_pb2.ImageFormat
    def __init__(self, model: _Optional[_Union[_types_pb2.ModelVersion, _Mapping]] = ..., latents: _Optional[_Iterable[_Union[_types_pb2.Latent, _Mapping]]] = ..., format: _Optional[_Union[_types_pb2.ImageFormat, str]] = ...) -> None: ...

class DecodeResponse(_message.Message):
    __slots__ = ("model", "images")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    model: _types_pb2.ModelVersion
    images: _containers.RepeatedCompositeFieldContainer[_types_pb2.Image]
    def __init__(self, model: _Optional[_Union[_types_pb2.ModelVersion, _Mapping]] = ..., images: _Optional[_Iterable[_Union[_types_pb2.Image, _Mapping]]] = ...) -> None: ...

class ReconstructRequest(_message.Message):
    __slots__ = ("model", "images", "format")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    model: _types_pb2.ModelVersion
    images: _containers.RepeatedCompositeFieldContainer[_types_pb2.Image]
    format: _types_pb2.ImageFormat
    def __init__(self, model: _Optional[_Union[_types_pb2.ModelVersion, _Mapping]] = ..., images: _Optional[_Iterable[_Union[_types_pb2.Image, _Mapping]]] = ..., format: _Optional[_Union[_types_pb2.ImageFormat, str]] = ...) -> None: ...

class ReconstructResponse(_message.Message):
    __slots__ = ("model", "images", "colour_change")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    COLOUR_CHANGE_FIELD_NUMBER: _ClassVar[int]
    model: _types_pb2.ModelVersion
    images: _containers.RepeatedCompositeFieldContainer[_types_pb2.Image]
    colour_change: _types_pb2.ColourChange
    def __init__(self, model: _Optional[_Union[_types_pb2.ModelVersion, _Mapping]] = ..., images: _Optional[_Iterable[_Union[_types_pb2.Image, _Mapping]]] = ..., colour_change: _Optional[_Union[_types_pb2.ColourChange, _Mapping]] = ...) -> None: ...

class InterpolateRequest(_message.Message):
    __slots__ = ("model", "first", "last", "steps", "format")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    model: _types_pb2.ModelVersion
    first: _types_pb2.Image
    last: _types_pb2.Image
    steps: int
    format: _types_pb2.ImageFormat
    def __init__(self, model: _Optional[_Union[_types_pb2.ModelVersion, _Mapping]] = ..., first: _Optional[_Union[_types_pb2.Image, _Mapping]] = ..., last: _Optional[_Union[_types_pb2.Image, _Mapping]] = ..., steps: _Optional[int] = ..., format: _Optional[_Union[_types_pb2.ImageFormat, str]] = ...) -> None: ...

class InterpolateResponse(_message.Message):
    __slots__ = ("model", "images", "colour_change")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    COLOUR_CHANGE_FIELD_NUMBER: _ClassVar[int]
    model: _types_pb2.ModelVersion
    images: _containers.RepeatedCompositeFieldContainer[_types_pb2.Image]
    colour_change: _types_pb2.ColourChange
    def __init__(self, model: _Optional[_Union[_types_pb2.ModelVersion, _Mapping]] = ..., images: _Optional[_Iterable[_Union[_types_pb2.Image, _Mapping]]] = ..., colour_change: _Optional[_Union[_types_pb2.ColourChange, _Mapping]] = ...) -> None: ...

class SweepRequest(_message.Message):
    __slots__ = ("model", "image", "row_dimension", "column_dimension", "steps", "low", "high", "format")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    ROW_DIMENSION_FIELD_NUMBER: _ClassVar[int]
    COLUMN_DIMENSION_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    model: _types_pb2.ModelVersion
    image: _types_pb2.Image
    row_dimension: int
    column_dimension: int
    steps: int
    low: float
    high: float
    format: _types_pb2.ImageFormat
    def __init__(self, model: _Optional[_Union[_types_pb2.ModelVersion, _Mapping]] = ..., image: _Optional[_Union[_types_pb2.Image, _Mapping]] = ..., row_dimension: _Optional[int] = ..., column_dimension: _Optional[int] = ..., steps: _Optional[int] = ..., low: _Optional[float] = ..., high: _Optional[float] = ..., format: _Optional[_Union[_types_pb2.ImageFormat, str]] = ...) -> None: ...

class SweepResponse(_message.Message):
    __slots__ = ("model", "steps", "images", "colour_change")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    COLOUR_CHANGE_FIELD_NUMBER: _ClassVar[int]
    model: _types_pb2.ModelVersion
    steps: int
    images: _containers.RepeatedCompositeFieldContainer[_types_pb2.Image]
    colour_change: _types_pb2.ColourChange
    def __init__(self, model: _Optional[_Union[_types_pb2.ModelVersion, _Mapping]] = ..., steps: _Optional[int] = ..., images: _Optional[_Iterable[_Union[_types_pb2.Image, _Mapping]]] = ..., colour_change: _Optional[_Union[_types_pb2.ColourChange, _Mapping]] = ...) -> None: ...

class ScoreRequest(_message.Message):
    __slots__ = ("model", "images", "seed")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    model: _types_pb2.ModelVersion
    images: _containers.RepeatedCompositeFieldContainer[_types_pb2.Image]
    seed: int
    def __init__(self, model: _Optional[_Union[_types_pb2.ModelVersion, _Mapping]] = ..., images: _Optional[_Iterable[_Union[_types_pb2.Image, _Mapping]]] = ..., seed: _Optional[int] = ...) -> None: ...

class ScoreResponse(_message.Message):
    __slots__ = ("model", "kind", "scores", "colour_change")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    COLOUR_CHANGE_FIELD_NUMBER: _ClassVar[int]
    model: _types_pb2.ModelVersion
    kind: ScoreKind
    scores: _containers.RepeatedScalarFieldContainer[float]
    colour_change: _types_pb2.ColourChange
    def __init__(self, model: _Optional[_Union[_types_pb2.ModelVersion, _Mapping]] = ..., kind: _Optional[_Union[ScoreKind, str]] = ..., scores: _Optional[_Iterable[float]] = ..., colour_change: _Optional[_Union[_types_pb2.ColourChange, _Mapping]] = ...) -> None: ...
