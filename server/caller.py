"""Who sends a request, and what this client may do."""

from contextvars import ContextVar
from dataclasses import dataclass

from smalti.errors import NotPermitted
from smalti.jobs.limits import UNSAID, ClientLimits
from smalti.runtime.names import GROUPS, Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A client by its name, and the groups of RPCs that it may use."""

    name: str
    groups: frozenset[Group]
    limits: ClientLimits = UNSAID  # its own; where they say nothing, those of the server's settings

    @property
    def sees_all(self) -> bool:
        """Whether it sees, cancels and deletes the jobs of others."""
        return "admin" in self.groups

    def require(self, group: Group) -> None:
        """Raise NotPermitted unless the client may use this group of RPCs."""
        if group not in self.groups:
            raise NotPermitted(
                f"The client '{self.name}' may not do this: its token lacks the group '{group}'."
            )


# Every client without a name, where the server asks for no tokens. All clients see all jobs there.
ANYONE = Caller(name="", groups=frozenset(GROUPS))
_caller: ContextVar[Caller] = ContextVar("caller", default=ANYONE)


def caller() -> Caller:
    """The client whose RPC this task answers."""
    return _caller.get()


def set_caller(who: Caller) -> None:
    """Say who sent the RPC that this task answers."""
    _caller.set(who)
