"""The families that can be trained: one line each. A new family is added here."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a family's code is, and its default variant, for recipes that name none."""

    module: str  # has the functions `task(recipe, images, device)` and `tables(recipe)`
    default_variant: str


FAMILIES = {
    "pixel_rnn": Entry("training.families.pixel_rnn", "diagonal"),
    "vae": Entry("training.families.vae", "elbo"),
    "autoencoder": Entry("training.families.vae", "plain"),
    "gan": Entry("training.families.gan", "robust"),
}
