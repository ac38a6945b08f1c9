"""Reports what was read from a folder or archive, what was changed, and what was skipped."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_NAMED = 5  # files that a sentence names; the others are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """The traits of a picture in its file."""

    size: tuple[int, int]  # width and height, upright
    transparent: bool  # some pixels are not fully opaque
    turned: bool  # it was turned as its EXIF orientation says
    animated: bool  # it is the first of several frames or pages
    deep: bool  # it had more than eight bits a channel, or floating point levels


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A picture that cannot be used, and why."""

    name: str
    reason: str  # follows the name: "is cut off or damaged"

    def __str__(self) -> str:
        return f"{self.name} {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How many pictures were read, how they were changed, and which could not be used."""

    read: int = 0  # pictures that can be used
    skipped: tuple[Skipped, ...] = ()
    others: int = 0  # files without the name of a picture: Thumbs.db, ._x.png, notes.txt
    transparent: int = 0  # pictures with pixels that are not fully opaque
    turned: int = 0  # turned as their EXIF orientation says
    animated: int = 0  # animations, of which the first frame was taken
    deep: int = 0  # reduced from 16 bits a channel to 8
    cropped: int = 0  # cut down to the part that is not transparent
    reduced: int = 0  # made smaller to fit
    padded: int = 0  # put into a larger frame
    smallest: tuple[int, int] | None = None  # width and height in its file
    largest: tuple[int, int] | None = None

    def sentences(self) -> list[str]:
        """One sentence for each number that is not zero."""
        counted = {
            "had transparent parts": self.transparent,
            "had to be turned, as EXIF says": self.turned,
            "had several frames or pages, of which the first was taken": self.animated,
            "had more than 8 bits a channel, and now have 8": self.deep,
            "had a transparent border, which was cut off; the rest is placed on the bottom edge, in the middle": (
                self.cropped
            ),
            "had to be made smaller": self.reduced,
            "had to be set into a larger frame": self.padded,
        }
        told = [f"{count} {what}." for what, count in counted.items() if count]
        ending = [self.skipped_sentence()] if self.skipped else []
        return [self._read_sentence(), *told, *ending]

    def skipped_sentence(self) -> str:
        """The pictures that could not be used, the first few by name; empty if there are none."""
        if not self.skipped:
            return ""
        return f"Skipped {len(self.skipped)}: {named(list(map(str, self.skipped)))}."

    def _read_sentence(self) -> str:
        sizes = ""
        if self.smallest and self.largest:
            smallest, largest = (f"{width}×{height}" for width, height in (self.smallest, self.largest))
            sizes = f" of {smallest}" if smallest == largest else f" of {smallest} to {largest}"
        others = (
            f"; {self.others} file{' is' if self.others == 1 else 's are'} of other kinds"
            if self.others
            else ""
        )
        return f"Read {self.read} picture{'' if self.read == 1 else 's'}{sizes}{others}."


EMPTY = Report()


def report_of(read: Sequence[Traits], skipped: Iterable[Skipped] = (), *, others: int = 0) -> Report:
    """The report on pictures that were read and those that were skipped."""
    by_area = sorted({each.size for each in read}, key=lambda size: (size[0] * size[1], size))
    return Report(
        read=len(read),
        skipped=tuple(skipped),
        others=others,
        transparent=sum(each.transparent for each in read),
        turned=sum(each.turned for each in read),
        animated=sum(each.animated for each in read),
        deep=sum(each.deep for each in read),
        smallest=by_area[0] if by_area else None,
        largest=by_area[-1] if by_area else None,
    )


def named(names: Sequence[str]) -> str:
    """The first few names, and the number of the others."""
    more = len(names) - _NAMED
    return "; ".join(names[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def reason_of(error: Exception) -> str:
    """An error's message without its subject, to be written after a file's name."""
    return str(error).removeprefix("The image ").removesuffix(".")
