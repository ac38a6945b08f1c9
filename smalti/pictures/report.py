"""What became of the files of a folder or archive, and how that is told."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_NAMED = 5  # files that a sentence names; of the others it gives the number


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a picture was like in its file."""

    size: tuple[int, int]  # width and height, upright
    transparent: bool  # some of it is not quite opaque
    turned: bool  # its EXIF orientation had to be followed
    animated: bool  # it is the first of several frames or pages
    deep: bool  # it had more than eight bits a channel, or numbers instead of levels


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A picture that cannot be used, and why."""

    name: str
    reason: str  # what can be said of it, such as "is cut off or damaged"

    def __str__(self) -> str:
        return f"{self.name} {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How many pictures were read, what had to be done for that, and which could not be used."""

    read: int = 0  # pictures that can be used
    skipped: tuple[Skipped, ...] = ()
    others: int = 0  # files that by their names are no pictures: Thumbs.db, ._x.png, notes.txt
    transparent: int = 0  # pictures of which a part is not quite opaque
    turned: int = 0  # as their EXIF orientation says
    animated: int = 0  # of which the first frame was taken
    deep: int = 0  # brought from 16 bits a channel to 8
    cropped: int = 0  # to the part that is not transparent
    reduced: int = 0  # made smaller to fit
    padded: int = 0  # set into a larger frame
    smallest: tuple[int, int] | None = None  # width and height in its file
    largest: tuple[int, int] | None = None

    def sentences(self) -> list[str]:
        """All of it that is not zero, each in a plain sentence."""
        counted = {
            "had transparent parts": self.transparent,
            "had to be turned, as EXIF says": self.turned,
            "had several frames or pages, of which the first was taken": self.animated,
            "had more than 8 bits a channel, and now have 8": self.deep,
            "had a transparent border, which was cut off; what is left stands on the bottom edge, in the middle": (
                self.cropped
            ),
            "had to be made smaller": self.reduced,
            "had to be set into a larger frame": self.padded,
        }
        told = [f"{count} {what}." for what, count in counted.items() if count]
        ending = [self.skipped_sentence()] if self.skipped else []
        return [self._read_sentence(), *told, *ending]

    def skipped_sentence(self) -> str:
        """Which pictures could not be used, the first of them by name; '' where all could."""
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
    """The report on pictures that were read and others that were not."""
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
    """The first names, and how many more there are."""
    more = len(names) - _NAMED
    return "; ".join(names[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def printable(name: str) -> str:
    """A file's name as it may be printed: without control characters and what no encoding has."""
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "backslashreplace").decode()
        for character in name
    )


def reason_of(error: Exception) -> str:
    """What an error says of a file, to be written after its name."""
    return str(error).removeprefix("The image ").removesuffix(".")
