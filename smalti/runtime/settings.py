"""Settings of server and worker: SMALTI_* variables, read once by `__main__` and handed down."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from smalti.errors import SettingsInvalid
from smalti.printable import printable
from smalti.runtime.provider import Provider
from smalti.runtime.redis_url import check_redis_url

_PREFIX = "SMALTI_"
_OF_OTHERS = frozenset({"SERVER", "TOKEN", "TOKEN_FILE", "CA", "CERT", "KEY"})  # read by the command line
_NUMBER = re.compile(r"[0-9.eE+-]*")  # Python and pydantic accept more, such as 1_0
_ORIGIN = r"https?://(\*\.)?([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?"
_SHOWN = 80  # characters of a wrong value in a message
Seconds = Annotated[float, Field(ge=0.01, le=86400, allow_inf_nan=False)]  # nobody waits longer than a day
Retention = Annotated[float, Field(ge=0.01, le=10 * 365 * 86400, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Total = Annotated[int, Field(ge=1, le=10**15)]  # Lua's numbers are exact up to this size
Bytes = Annotated[int, Field(ge=1, le=2**31 - 1)]  # gRPC's limit
Port = Annotated[int, Field(ge=0, le=65535)]


class SharedSettings(BaseSettings):
    """The settings that server and worker share."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_ignore_empty=True, frozen=True)

    redis_url: Annotated[str, AfterValidator(check_redis_url)] = (
        "redis://localhost:6379/0"  # the Redis that holds the queue
    )
    redis_url_file: Path | None = None  # file that holds the URL of Redis, instead of SMALTI_REDIS_URL
    pool: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9-]{1,32}$", description="1 to 32 lower-case ASCII letters, digits and hyphens"
        ),
    ] = "default"  # name of the queue; processes of one pool share it, other pools on the same Redis do not
    shards: Annotated[int, Field(ge=1, le=64)] = (
        1  # parts of the pool, each in a slot of a Redis cluster of its own
    )
    allow_volatile_redis: bool = False  # for demonstrations: accept a Redis that may lose acknowledged jobs
    model_repository: Path = Path("model_repository")  # folder of the exported models
    providers: Literal["cpu", "cuda"] = "cpu"  # where graphs run: cuda is an NVIDIA GPU
    threads: Annotated[int, Field(ge=1, le=1024)] = 1  # onnxruntime's threads within one operator
    gpu_memory_megabytes: Count = 2048  # GPU memory that onnxruntime may use for each graph
    lease_seconds: Seconds = 10.0  # silence after which another worker may take a worker's samples
    metrics_host: str = "127.0.0.1"  # address on which the metrics are served; 0.0.0.0: all addresses
    metrics_port: Port = 9401  # port of the metrics; 0: any free one
    metrics_token_file: Path | None = (
        None  # file of the token that /metrics asks for; without it, anyone may read
    )
    otlp_endpoint: Annotated[
        str,
        Field(
            pattern=r"^(https?://[^/\s@]+:[0-9]{1,5}/?)?$",
            description="the address of a gRPC receiver with its port, such as http://localhost:4317",
        ),
    ] = ""  # receiver of OpenTelemetry's traces, with the extra otel; empty: nothing is traced
    log_level: Literal["debug", "info", "warning", "error"] = "info"  # less important messages are not logged
    log_format: Literal["text", "json"] = "text"  # form of the log: text to read, or one JSON object per line

    @property
    def provider(self) -> Provider:
        """How the process opens its onnxruntime sessions."""
        return Provider(
            name=self.providers, threads=self.threads, gpu_memory_megabytes=self.gpu_memory_megabytes
        )

    @model_validator(mode="before")
    @classmethod
    def _redis_url_from_its_file(cls, given: dict[str, Any]) -> dict[str, Any]:
        if not (file := given.get("redis_url_file")):
            return given
        if given.get("redis_url"):
            raise SettingsInvalid("SMALTI_REDIS_URL and SMALTI_REDIS_URL_FILE are both set: set only one.")
        _check_text("redis_url_file", file)
        return given | {"redis_url": _content(file)}

    @field_validator("*", mode="before")
    @classmethod
    def _is_plain(cls, value: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        _check_text(name, value)
        is_number = cls.model_fields[name].annotation in (int, float)
        if isinstance(value, str) and is_number and not _NUMBER.fullmatch(value.strip()):
            raise PydanticCustomError("number", "it is not a number")
        return value


class WorkerSettings(SharedSettings):
    """The settings of a worker."""

    metrics_port: Port = 9402  # port of the metrics; 0: any free one
    slots: Annotated[int, Field(ge=1, le=4096)] = 32  # how many samples a worker draws at once
    interactive_share: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = (
        0.5  # in at most this share of the slots, other samples make way for interactive ones
    )
    grace_seconds: Seconds = 10.0  # longest time after SIGTERM for handing samples back while Redis is away
    models: str = ""  # names of the models to draw, separated by commas; empty: all that draw rows
    gpu_buckets: Annotated[
        str,
        Field(
            pattern=r"^([0-9]{1,4}(,[0-9]{1,4})*)?$",
            description="sizes of batches separated by commas, such as 1,8",
        ),
    ] = ""  # sizes of batches on a GPU; all slots are always one of them

    @field_validator("gpu_buckets")
    @classmethod
    def _within_the_slots(cls, buckets: str, info: ValidationInfo) -> str:
        slots = info.data.get("slots", 0)
        if any(not 1 <= size <= slots for size in _sizes(buckets)):
            raise ValueError(f"sizes of batches that lie between 1 and the {slots} slots")
        return buckets

    @property
    def gpu_batches(self) -> tuple[int, ...]:
        """The sizes of batches that a GPU runs, ascending; the last one has room for all slots."""
        return tuple(sorted({*_sizes(self.gpu_buckets), self.slots}))


class ServerSettings(SharedSettings):
    """The settings of a server."""

    listen: str = "127.0.0.1:50051"  # address and port of the gRPC server
    tokens_file: Path | None = None  # file of the clients' tokens; without it, everybody may do everything
    tls_cert_file: Path | None = (
        None  # the server's certificate in PEM; with it and its key, connections use TLS
    )
    tls_key_file: Path | None = None  # the certificate's key in PEM, without a password
    tls_client_ca_file: Path | None = (
        None  # certificates of authorities in PEM; clients must show a certificate that one of them signed
    )
    server_processes: Annotated[int, Field(ge=1, le=256)] = (
        1  # processes that share the port and the requests
    )
    grace_seconds: Seconds = 10.0  # longest time after SIGTERM for requests that still run
    keepalive_seconds: Annotated[float, Field(ge=0.1, le=3600, allow_inf_nan=False)] = (
        20.0  # when a client is silent for this time, the server sends it a ping
    )
    max_batch: Count = 64  # most entries of one-shot requests that one run of a graph takes
    max_queue_delay_seconds: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = (
        0.002  # longest time that a one-shot request waits for others, to run in one batch with them
    )
    max_waiting: Count = 1024  # most entries of one-shot requests that wait for one graph
    max_calls: Count = 256  # most calls with one response that a service answers at once
    max_open_calls: Count = 8192  # most calls of a service at once, streams too
    max_picture_pixels: Total = (
        262_144  # most pixels of pictures that are read or written at once; a request takes half of the rest
    )
    max_upload_bytes: Total = (
        256 * 1024 * 1024
    )  # most bytes of pictures in memory that are uploaded for jobs; an upload takes half of the rest
    max_images: Count = 256  # most images in a one-shot request
    max_message_bytes: Bytes = (
        16 * 1024 * 1024
    )  # most bytes in a request, and most bytes of pixels in an answer
    shared_memory: Literal["on", "loopback", "off"] = (
        "loopback"  # may Triton's clients register files under /dev/shm; loopback: if the server listens only there
    )
    max_job_samples: Total = 1_000_000  # most samples in a job
    max_queued_jobs: Total = 10_000  # most jobs that have not ended
    max_queued_pixels: Total = 2_000_000_000  # most pixels in all jobs that are not drawn yet
    max_watchers: Count = 10_000  # most Watch streams of a server process
    max_watchers_per_job: Count = 1_000  # most Watch streams of one job in a server process
    max_watchers_per_client: Count = (
        2_000  # most Watch streams of one client in a server process, if it has a name
    )
    max_result_bytes: Total = 400_000_000  # most bytes of all jobs and their results, also of jobs that ended
    max_client_jobs: Total = 1000  # most jobs of one client, by its token, that have not ended
    max_client_pixels: Total = 500_000_000  # most pixels in all jobs of one client that are not drawn yet
    max_client_result_bytes: Total = (
        100_000_000  # most bytes of one client's jobs and their results, also of jobs that ended
    )
    webhook_targets: Annotated[
        str,
        Field(
            pattern=rf"^({_ORIGIN}(,{_ORIGIN})*)?$",
            description="origins separated by commas, such as https://hooks.example.org,https://*.example.org:8443",
        ),
    ] = ""  # where webhooks may go, origins separated by commas; empty: there are no webhooks
    webhook_networks: str = (
        ""  # inner networks that webhooks may reach, such as 10.1.2.0/24, separated by commas
    )
    webhook_secret_file: Path | None = None  # file of the secret with which webhooks are signed
    max_retention_seconds: Retention = 7 * 86400.0  # longest retention that a client gets
    default_retention_seconds: Retention = 86400.0  # retention of a job whose client asks for none

    @field_validator("webhook_networks")
    @classmethod
    def _are_networks(cls, networks: str) -> str:
        try:
            for each in filter(None, networks.split(",")):
                ip_network(each.strip())
        except ValueError:
            raise ValueError("networks separated by commas, such as 10.1.2.0/24") from None
        return networks


def _check_text(field: str, value: Any) -> None:
    """Refuse a value with a surrogate, which stands for a byte that is not UTF-8."""
    if isinstance(value, str) and re.search(r"[\ud800-\udfff]", value):
        raise SettingsInvalid(f"{_variable(field)} has a byte that is not UTF-8: write it in UTF-8.")


def _content(file: str | Path) -> str:
    """The URL in a file; raises SettingsInvalid."""
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise SettingsInvalid(
            f"SMALTI_REDIS_URL_FILE: {printable(str(file))} cannot be read: {reason}."
        ) from None


def _sizes(buckets: str) -> list[int]:
    return [int(size) for size in buckets.split(",") if size]


Settings = TypeVar("Settings", bound=SharedSettings)


def read_settings(kind: type[Settings]) -> Settings:
    """The settings in the environment; raises SettingsInvalid, which names the variable and what is wrong."""
    try:
        return kind()
    except ValidationError as error:
        first = error.errors()[0]
        field, shown = str(first["loc"][0]), printable(str(first["input"]), longest=_SHOWN)
        own_words = first["type"] == "value_error"
        wanted = first["msg"].removeprefix("Value error, ") if own_words else _wanted(kind, field)
        raise SettingsInvalid(f"{_variable(field)} is '{shown}': it takes {wanted}.") from error


def _variable(field: str) -> str:
    return _PREFIX + field.upper()


def _wanted(kind: type[SharedSettings], field: str) -> str:
    """The values that a field takes, in words."""
    schema = kind.model_json_schema()["properties"][field]
    match schema:
        case {"description": words}:
            return str(words)
        case {"enum": choices}:
            return " or ".join(", ".join(choices).rsplit(", ", 1))
        case {"exclusiveMinimum": low, "maximum": high}:
            return f"a number above {low} and up to {high}"
        case {"type": ("integer" | "number") as number, "minimum": low, "maximum": high}:
            return f"a {'whole ' if number == 'integer' else ''}number from {low} to {high}"
        case {"type": "boolean"}:
            return "true or false"
    return "a text"


def strange_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """A message for each SMALTI_* variable that nothing reads; it may be misspelled."""
    kinds = (WorkerSettings, ServerSettings)
    known = {field.upper() for kind in kinds for field in kind.model_fields} | _OF_OTHERS
    for variable in sorted(environment):
        name = variable.upper().removeprefix(_PREFIX)
        if variable.upper().startswith(_PREFIX) and name not in known:
            alike = get_close_matches(name, known, n=1)
            yield f"nothing reads {printable(variable)}" + (
                f": did you mean {_PREFIX}{alike[0]}?" if alike else ""
            )
