"""How the one-shot requests for a graph share its runs: the knobs of one graph, with their limits."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_HOUR = 3_600_000_000  # microseconds; nobody waits longer for a run
_MOST_LEVELS = 100
_LEVEL = re.compile(r"[1-9][0-9]{0,8}")
Entries = Annotated[int, Field(ge=1, le=1_000_000)]
Microseconds = Annotated[int, Field(ge=0, le=_HOUR)]
TimeoutAction = Literal["reject", "delay"]


def _numbered(levels: Any) -> Any:
    """TOML has no numbers as keys: '1' is level 1."""
    if not isinstance(levels, dict):
        return levels
    return {
        int(key) if isinstance(key, str) and _LEVEL.fullmatch(key) else key: levels[key] for key in levels
    }


class QueuePolicy(BaseModel):
    """How requests wait: how many, how long, and what happens then. Times are in microseconds, as in Triton."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_queue_size: Entries = 1024  # most entries that wait
    default_timeout_microseconds: Microseconds = 0  # longest wait for a run; 0: no limit
    timeout_action: TimeoutAction = "reject"  # or delay: let it wait behind the others of its level
    allow_timeout_override: bool = True  # a request may ask for a shorter timeout

    def timeout_seconds(self, asked: float | None) -> float | None:
        """How long a request may wait that asks for this timeout; None: for ever. Nobody gets more than the default."""
        default = self.default_timeout_microseconds / 1e6 or None
        if not asked or not self.allow_timeout_override:
            return default
        return asked if default is None else min(asked, default)


class Batching(QueuePolicy):
    """The knobs of one graph. `max_queue_size` counts the entries of all levels together."""

    max_batch_size: Entries = 64  # most entries in one run
    preferred_batch_sizes: Annotated[
        tuple[Entries, ...], Field(max_length=100, strict=False)
    ] = ()  # a run of such a size starts at once
    max_queue_delay_microseconds: Microseconds = 2000  # longest wait for others to share a run with
    instances: Annotated[int, Field(ge=1, le=64)] = 1  # most runs at once
    priority_levels: Annotated[int, Field(ge=0, le=_MOST_LEVELS)] = 0  # 1 is served first; 0: all are equal
    default_priority: Annotated[int, Field(ge=0, le=_MOST_LEVELS)] = 0  # level of requests that name none
    levels: Annotated[dict[int, QueuePolicy], BeforeValidator(_numbered)] = {}  # with a policy of their own

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if fault := self._fault_of_sizes() or self._fault_of_levels():
            raise ValueError(fault)
        return self

    def _fault_of_sizes(self) -> str:
        too_large = [size for size in self.preferred_batch_sizes if size > self.max_batch_size]
        if too_large:
            return f"its preferred batch size {too_large[0]} is above max_batch_size, {self.max_batch_size}"
        return ""

    def _fault_of_levels(self) -> str:
        last = self.priority_levels
        if not last and (self.default_priority or self.levels):
            return "it has a default_priority or levels, but no priority_levels"
        if last and not 1 <= self.default_priority <= last:
            return f"its default_priority is {self.default_priority}, which must be 1 to {last}"
        foreign = [level for level in self.levels if not 1 <= level <= last]
        return f"it has a level {foreign[0]}, but its levels are 1 to {last}" if foreign else ""

    def level(self, priority: int) -> int:
        """The level of a request with this priority; 0, and a number that is no level, stand for the default."""
        return priority if 1 <= priority <= self.priority_levels else self.default_priority

    def policy(self, level: int) -> QueuePolicy:
        """How requests of this level wait."""
        return self.levels.get(level, self)
