"""Source and licence of known data, by digest, for the manifest."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who made the images, and their licence."""

    source: str
    licence: str


UNKNOWN = Provenance(source="not stated", licence="not stated")

KNOWN = {
    "ba90352efac9ab8a6d5049c09bbdf6ac2ef9be2b00066ae4ba20eba7d32e3a25": Provenance(
        source="Dungeon Crawl Stone Soup tiles, monsters, release Nov-2015 (github.com/crawl/tiles)",
        licence="CC0-1.0",
    ),
    "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3": Provenance(
        source="Optical Recognition of Handwritten Digits, test part (E. Alpaydin, C. Kaynak, UCI), via scikit-learn",
        licence="CC-BY-4.0",
    ),
    "a518d798b8dd80384f0a06bda8059ba9551ec82a2580103888f211b1c4130a6a": Provenance(
        source="MNIST (Y. LeCun, C. Cortes, C. Burges), statically binarised (H. Larochelle)",
        licence="CC-BY-SA-3.0",
    ),
}
