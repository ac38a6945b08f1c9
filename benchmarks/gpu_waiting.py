"""How long a person waits for the whole system, over gRPC, by what it computes on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.latency import first_row_of_stream, milliseconds
from benchmarks.whole import Whole, running
from smalti.runtime.repository import ModelRepository

Quantiles = dict[str, float]  # milliseconds, by name


@dataclass(frozen=True, slots=True)
class Asked:
    """Which models are asked."""

    vae: str = "sprites-vae"
    gan: str = "sprites-gan"
    pixel_rnn: str = "sprites-pixel-rnn"


def waiting(
    repository: Path, asked: Asked, *, providers: Sequence[str], slots: int, times: int
) -> dict[str, dict[str, Quantiles]]:
    """Milliseconds, p50 and p99, of every kind of request, for each value of SMALTI_PROVIDERS."""
    latents = ModelRepository(repository).load(asked.vae).manifest.latent_size
    found = {}
    for provider in providers:
        with running(repository, asked.pixel_rnn, slots=slots, SMALTI_PROVIDERS=provider) as whole:
            calls = _calls(whole, asked, latents)
            for call in calls.values():
                call()  # warms everything
            found[provider] = {name: milliseconds(call, _times(name, times)) for name, call in calls.items()}
    return found


def lines(found: Mapping[str, Mapping[str, Quantiles]]) -> list[str]:
    """A line for each kind of request, what it was computed on side by side."""
    names = next(iter(found.values()))
    return [f"{name:<36} " + "   ".join(_figures(p, found[p][name]) for p in found) for name in names]


def _figures(provider: str, quantiles: Quantiles) -> str:
    return f"{provider} " + " ".join(f"{name} {value:8.2f} ms" for name, value in quantiles.items())


def _calls(whole: Whole, asked: Asked, latents: int) -> dict[str, Callable[[], object]]:
    return {
        "one-shot: VAE decode": lambda: whole.client.decode(asked.vae, [[0.0] * latents]),
        "one-shot: GAN draw": lambda: whole.client.draw(asked.gan),
        "PixelRNN: DrawStream, first row": lambda: first_row_of_stream(whole, asked.pixel_rnn),
        "PixelRNN: DrawStream, whole picture": lambda: list(whole.client.draw_stream(asked.pixel_rnn)),
        f"PixelRNN: job of {whole.slots} samples": lambda: _job(whole, asked.pixel_rnn),
    }


def _job(whole: Whole, model: str) -> None:
    job = whole.client.submit(model, count=whole.slots)
    for _ in whole.client.watch(job.id):  # to its end
        pass


def _times(name: str, times: int) -> int:
    return 10 * times if name.startswith("one-shot") else times
