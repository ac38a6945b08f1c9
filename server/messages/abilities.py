"""What a request needs of a model, looked up in its manifest: nothing asks which family it is."""

from smalti.errors import GraphNotServed
from smalti.runtime.manifest import Manifest, Score


def require_score(manifest: Manifest) -> Score:
    """How the model scores images; raises GraphNotServed where it cannot."""
    if manifest.score is None:
        graphs = ", ".join(sorted(manifest.graphs))
        raise GraphNotServed(
            f"{manifest.name} is {manifest.kind} and has no graph that scores images; it has {graphs}."
        )
    return manifest.score


def require_generator(manifest: Manifest, *, instead: str = "") -> str:
    """The graph that turns latents into images; raises GraphNotServed, which ends with what to do instead."""
    if manifest.latent_graph is None:
        advice = f"; {instead}" if instead else ""
        raise GraphNotServed(f"{manifest.name} is {manifest.kind} and has no latent to draw from{advice}.")
    return manifest.latent_graph
