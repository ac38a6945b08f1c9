"""How long requests to the whole system take over gRPC: computed on the GPU, and on the CPU."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.latency import first_row_of_stream, milliseconds
from benchmarks.running_system import RunningSystem, run_system
from smalti.runtime.repository import ModelRepository

Quantiles = dict[str, float]  # milliseconds, by name


@dataclass(frozen=True, slots=True)
class Asked:
    """The models that requests are sent to."""

    vae: str = "sprites-vae"
    gan: str = "sprites-gan"
    pixel_rnn: str = "sprites-pixel-rnn"


def waiting(
    repository: Path, asked: Asked, *, providers: Sequence[str], slots: int, times: int
) -> dict[str, dict[str, Quantiles]]:
    """Milliseconds (p50 and p99) of every kind of request, for each value of SMALTI_PROVIDERS."""
    latents = ModelRepository(repository).load(asked.vae).manifest.latent_size
    found = {}
    for provider in providers:
        with run_system(repository, asked.pixel_rnn, slots=slots, SMALTI_PROVIDERS=provider) as running:
            calls = _calls(running, asked, latents)
            for call in calls.values():
                call()  # the first call is slower
            found[provider] = {name: milliseconds(call, _times(name, times)) for name, call in calls.items()}
    return found


def lines(found: Mapping[str, Mapping[str, Quantiles]]) -> list[str]:
    """One line per kind of request, with a column for each provider."""
    names = next(iter(found.values()))
    return [f"{name:<36} " + "   ".join(_figures(p, found[p][name]) for p in found) for name in names]


def _figures(provider: str, quantiles: Quantiles) -> str:
    return f"{provider} " + " ".join(f"{name} {value:8.2f} ms" for name, value in quantiles.items())


def _calls(running: RunningSystem, asked: Asked, latents: int) -> dict[str, Callable[[], object]]:
    return {
        "one-shot: VAE decode": lambda: running.client.decode(asked.vae, [[0.0] * latents]),
        "one-shot: GAN draw": lambda: running.client.draw(asked.gan),
        "PixelRNN: DrawStream, first row": lambda: first_row_of_stream(running, asked.pixel_rnn),
        "PixelRNN: DrawStream, whole picture": lambda: list(running.client.draw_stream(asked.pixel_rnn)),
        f"PixelRNN: job of {running.slots} samples": lambda: _job(running, asked.pixel_rnn),
    }


def _job(running: RunningSystem, model: str) -> None:
    job = running.client.submit(model, count=running.slots)
    for _ in running.client.watch(job.id):  # until the job ends
        pass


def _times(name: str, times: int) -> int:
    return 10 * times if name.startswith("one-shot") else times
