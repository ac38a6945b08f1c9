"""One row of the diagonal PixelRNN, assembled from a few parts, with a name for every value that passes between them.

The values are tensors where torch runs the parts, and names of values where an exporter places them in a graph. A part
takes and gives one flat sequence, since a graph does: `flat` and `of` translate between that and the names.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Generic, NamedTuple, Protocol, TypeVar

from models.neighbourhood import LEFT

GATES = 4

T = TypeVar("T")


class Assembler(Protocol[T]):
    """Runs or places the parts of a row."""

    def part(self, name: str, values: Sequence[T]) -> Sequence[T]:
        """The outputs of DiagonalDrawer's part of this name for these inputs."""
        ...

    def cut(self, value: T, axis: int) -> Sequence[T]:
        """The value in pieces, one for each column."""
        ...

    def join(self, pieces: Sequence[T], axis: int) -> T:
        """The pieces of all columns as one value."""
        ...


class State(NamedTuple, Generic[T]):
    """What a slot keeps from row to row."""

    recent: T  # (slots, REACH, width) int64: the last rows of pixels
    rightward: T  # (slots, width, all layers' hidden): hidden states of the row above
    leftward: T  # (slots, width, all layers' hidden), like rightward
    used: T | None  # (slots, colours) int64, with a colour memory: how often each colour was drawn

    @classmethod
    def of(cls, values: Sequence[T]) -> "State[T]":
        """The state from its flat values."""
        recent, rightward, leftward, *used = values
        return cls(recent, rightward, leftward, used[0] if used else None)

    def flat(self) -> list[T]:
        """All values in order."""
        return [self.recent, self.rightward, self.leftward, *([] if self.used is None else [self.used])]


class RowInput(NamedTuple, Generic[T]):
    """The inputs of `draw_row`."""

    reset: T  # (slots,) bool
    row: T  # (slots,) int64
    uniform: T  # (slots, width)
    forced: T  # (slots, width) int64, −1 where a pixel is drawn
    temperature: T  # (slots,)
    state: State[T]

    @classmethod
    def of(cls, values: Sequence[T]) -> "RowInput[T]":
        """The inputs from their flat values."""
        reset, row, uniform, forced, temperature, *state = values
        return cls(reset, row, uniform, forced, temperature, State.of(state))

    def flat(self) -> list[T]:
        """All values in order."""
        return [self.reset, self.row, self.uniform, self.forced, self.temperature, *self.state.flat()]


class RowOutput(NamedTuple, Generic[T]):
    """The outputs of `draw_row`."""

    pixels: T  # (slots, width) int64
    logp: T  # (slots, width)
    state: State[T]

    def flat(self) -> list[T]:
        """All values in order."""
        return [self.pixels, self.logp, *self.state.flat()]


class LayerStates(NamedTuple, Generic[T]):
    """One direction's LSTM states beside a pixel, layer by layer."""

    hidden: Sequence[T]  # (slots, hidden) each
    cells: Sequence[T]  # (slots, hidden) each

    @classmethod
    def of(cls, values: Iterable[T], layers: int) -> "LayerStates[T]":
        """The states from their flat values."""
        parts = iter(values)
        return cls(_take(parts, layers), _take(parts, layers))

    def flat(self) -> list[T]:
        """All values in order."""
        return [*self.hidden, *self.cells]


class Uses(NamedTuple, Generic[T]):
    """How often each colour was drawn so far."""

    counts: T  # (slots, colours) int64
    logarithms: T  # (slots, colours): log(1 + count)


class Running(NamedTuple, Generic[T]):
    """What goes from pixel to pixel while a row is drawn."""

    left: Sequence[T]  # (slots, 1) int64 each: the pixels at the left, the nearest first
    rightward: LayerStates[T]
    uses: Uses[T] | None  # None without a colour memory

    @classmethod
    def of(cls, values: Iterable[T], layers: int) -> "Running[T]":
        """The values that run from their flat sequence."""
        parts = iter(values)
        left, rightward, uses = _take(parts, len(LEFT)), LayerStates.of(parts, layers), list(parts)
        return cls(left, rightward, Uses(*uses) if uses else None)

    def flat(self) -> list[T]:
        """All values in order."""
        return [*self.left, *self.rightward.flat(), *(self.uses or ())]


class Columns(NamedTuple, Generic[T]):
    """What the rows above decide about a column, or about all columns one after another."""

    features: T  # (slots, features)
    gates: Sequence[Sequence[T]]  # each layer's four sums so far (slots, hidden), rightward
    residuals: Sequence[T]  # (slots, features) each: what the layer's leftward states above add
    copied: T  # (slots, colours above that may be copied) int64

    @classmethod
    def of(cls, values: Iterable[T], layers: int) -> "Columns[T]":
        """The columns from their flat values."""
        parts = iter(values)
        return cls(next(parts), _gates(parts, layers), _take(parts, layers), next(parts))

    def flat(self) -> list[T]:
        """All values in order."""
        return [self.features, *chain(*self.gates), *self.residuals, self.copied]


class Opened(NamedTuple, Generic[T]):
    """The opening's outputs: all that a row needs of its inputs."""

    temperature: T  # (slots, 1)
    number: T  # (slots, width): the random numbers, 0 beside a forced pixel
    columns: Columns[T]  # (width · slots, …)
    recent: T  # the last rows of pixels, for the closing
    leftward: Sequence[T]  # (width · slots, hidden) each: hidden states of the row above, for the closing
    leftward_start: LayerStates[T]  # before the leftward pass
    running: Running[T]  # before the first step

    @classmethod
    def of(cls, values: Iterable[T], layers: int) -> "Opened[T]":
        """The outputs from their flat values."""
        parts = iter(values)
        return cls(
            next(parts),
            next(parts),
            Columns.of(parts, layers),
            next(parts),
            _take(parts, layers),
            LayerStates.of(parts, layers),
            Running.of(parts, layers),
        )

    def flat(self) -> list[T]:
        """All values in order."""
        return [
            *(self.temperature, self.number),
            *self.columns.flat(),
            *(self.recent, *self.leftward),
            *self.leftward_start.flat(),
            *self.running.flat(),
        ]


class StepInput(NamedTuple, Generic[T]):
    """The inputs of a step, which draws one pixel."""

    temperature: T  # (slots, 1)
    number: T  # (slots, 1)
    forced: T  # (slots, 1) int64
    column: Columns[T]
    running: Running[T]

    @classmethod
    def of(cls, values: Iterable[T], layers: int) -> "StepInput[T]":
        """The inputs from their flat values."""
        parts = iter(values)
        return cls(
            next(parts), next(parts), next(parts), Columns.of(parts, layers), Running.of(parts, layers)
        )

    def flat(self) -> list[T]:
        """All values in order."""
        return [self.temperature, self.number, self.forced, *self.column.flat(), *self.running.flat()]


class Stepped(NamedTuple, Generic[T]):
    """The outputs of a step."""

    pixel: T  # (slots, 1) int64
    logits: T  # (slots, colours)
    layer_inputs: Sequence[T]  # (slots, features) each: the features that each layer read
    running: Running[T]

    @classmethod
    def of(cls, values: Iterable[T], layers: int) -> "Stepped[T]":
        """The outputs from their flat values."""
        parts = iter(values)
        return cls(next(parts), next(parts), _take(parts, layers), Running.of(parts, layers))

    def flat(self) -> list[T]:
        """All values in order."""
        return [self.pixel, self.logits, *self.layer_inputs, *self.running.flat()]


class ClosingInput(NamedTuple, Generic[T]):
    """The inputs of the closing: the finished row, and what the opening kept for it."""

    pixels: T  # (slots, width) int64
    logits: T  # (width · slots, colours)
    layer_inputs: Sequence[T]  # (width · slots, features) each
    recent: T
    leftward: Sequence[T]

    @classmethod
    def of(cls, values: Iterable[T], layers: int) -> "ClosingInput[T]":
        """The inputs from their flat values."""
        parts = iter(values)
        return cls(next(parts), next(parts), _take(parts, layers), next(parts), _take(parts, layers))

    def flat(self) -> list[T]:
        """All values in order."""
        return [self.pixels, self.logits, *self.layer_inputs, self.recent, *self.leftward]


class Closed(NamedTuple, Generic[T]):
    """The closing's outputs."""

    pixels: T  # (slots, width) int64
    logp: T  # (slots, width)
    gates: Sequence[Sequence[T]]  # each layer's four sums so far (width · slots, hidden), leftward
    recent: T  # for the next row

    @classmethod
    def of(cls, values: Iterable[T], layers: int) -> "Closed[T]":
        """The outputs from their flat values."""
        parts = iter(values)
        return cls(next(parts), next(parts), _gates(parts, layers), next(parts))

    def flat(self) -> list[T]:
        """All values in order."""
        return [self.pixels, self.logp, *chain(*self.gates), self.recent]


class StepBackInput(NamedTuple, Generic[T]):
    """The inputs of one pixel of the leftward pass; its outputs are LayerStates."""

    gates: Sequence[Sequence[T]]  # each layer's four sums so far (slots, hidden)
    leftward: LayerStates[T]  # at the right of the pixel

    @classmethod
    def of(cls, values: Iterable[T], layers: int) -> "StepBackInput[T]":
        """The inputs from their flat values."""
        parts = iter(values)
        return cls(_gates(parts, layers), LayerStates.of(parts, layers))

    def flat(self) -> list[T]:
        """All values in order."""
        return [*chain(*self.gates), *self.leftward.flat()]


def assemble_row(assembler: Assembler[T], values: Sequence[T], layers: int) -> list[T]:
    """A whole row: the flat inputs of `draw_row` → its flat outputs.

    The opening computes at once what follows from the rows above. A step draws one pixel. The closing prepares the
    leftward pass, which goes over the finished row pixel by pixel from the right. The ending puts the state in order.
    """
    given = RowInput.of(values)
    opened = Opened.of(assembler.part("opening", given.flat()), layers)
    steps = _draw_pixels(assembler, opened, given.forced, layers)
    layer_inputs = _joined(assembler, [step.layer_inputs for step in steps])
    rightward = _joined(assembler, [step.running.rightward.hidden for step in steps])
    drawn = ClosingInput(
        pixels=assembler.join([step.pixel for step in steps], 1),
        logits=assembler.join([step.logits for step in steps], 0),
        layer_inputs=layer_inputs,
        recent=opened.recent,
        leftward=opened.leftward,
    )
    closed = Closed.of(assembler.part("closing", drawn.flat()), layers)
    leftward = _pass_leftward(assembler, closed.gates, opened.leftward_start)
    rightward_states, leftward_states = assembler.part("ending", [*rightward, *leftward])
    uses = steps[-1].running.uses
    state = State(closed.recent, rightward_states, leftward_states, uses.counts if uses else None)
    return RowOutput(closed.pixels, closed.logp, state).flat()


def _draw_pixels(assembler: Assembler[T], opened: Opened[T], forced: T, layers: int) -> list[Stepped[T]]:
    """One step for each column, from the left."""
    numbers, forced_pixels = (assembler.cut(value, 1) for value in (opened.number, forced))
    running, steps = opened.running, []
    columns = _cut(assembler, opened.columns.flat())
    for number, pixel, column in zip(numbers, forced_pixels, columns, strict=True):
        now = StepInput(opened.temperature, number, pixel, Columns.of(column, layers), running)
        steps.append(Stepped.of(assembler.part("step", now.flat()), layers))
        running = steps[-1].running
    return steps


def _pass_leftward(assembler: Assembler[T], gates: Sequence[Sequence[T]], start: LayerStates[T]) -> list[T]:
    """Each layer's leftward hidden states (width · slots, hidden)."""
    layers, states, hidden = len(gates), start, []
    for column in reversed(_cut(assembler, list(chain(*gates)))):
        now = StepBackInput(_gates(iter(column), layers), states)
        states = LayerStates.of(assembler.part("step_back", now.flat()), layers)
        hidden.append(states.hidden)
    return _joined(assembler, hidden[::-1])


def _cut(assembler: Assembler[T], values: Sequence[T]) -> list[tuple[T, ...]]:
    """Values of all columns → for each column, its piece of every value."""
    return list(zip(*(assembler.cut(value, 0) for value in values), strict=True))


def _joined(assembler: Assembler[T], columns: Sequence[Sequence[T]]) -> list[T]:
    """Each layer's pieces, given column by column, as one value a layer."""
    return [assembler.join(pieces, 0) for pieces in zip(*columns, strict=True)]


def _gates(parts: Iterator[T], layers: int) -> list[list[T]]:
    return [_take(parts, GATES) for _ in range(layers)]


def _take(parts: Iterator[T], count: int) -> list[T]:
    return list(islice(parts, count))
