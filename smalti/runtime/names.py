"""The names of clients, groups and models, and those by which clients of the Open Inference Protocol ask for them.

They ask for each graph of a model of images, as `<model>.<graph>`, and for a model without images, as `<model>`. No
name of a model ends as a graph's does, so each name in the protocol has one meaning.
"""

import re
from typing import Literal, get_args

from smalti.runtime.families import GRAPHS

CLIENT_NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"  # of a client with a token, as a regular expression
Group = Literal["inference", "jobs", "admin"]  # of RPCs that a client may use
GROUPS: tuple[Group, ...] = get_args(Group)
NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,62}"  # of a model, as a regular expression
LONGEST_NAME = 63
TENSORS_GRAPH = "model"  # the one graph of a model without images
DRAW = "draw"  # in the protocol, the decoupled model of every model that draws row by row; a job answers it
_ASKED = GRAPHS | {DRAW}


def protocol_name(model: str, graph: str) -> str:
    """The name in the protocol of a model's graph."""
    return model if graph == TENSORS_GRAPH else f"{model}.{graph}"


def meant_by(name: str) -> tuple[str, str]:
    """The model and the graph that a name in the protocol means; nothing says that there is such a model."""
    model, dot, graph = name.rpartition(".")
    return (model, graph) if dot and graph in _ASKED else (name, TENSORS_GRAPH)


def without_graph(name: str) -> str:
    """The same name; raises ValueError if it ends as the name of a graph does in the protocol."""
    _, graph = meant_by(name)
    if graph != TENSORS_GRAPH:
        raise ValueError(f"must not end with '.{graph}', which names a graph")
    return name


def fault_of_name(name: str) -> str:
    """What keeps a folder of this name from being a model, in words; empty if nothing does."""
    if not re.fullmatch(NAME, name):
        return (
            f"names of models have at most {LONGEST_NAME} characters, a-z, A-Z, 0-9, '.', '-' and '_', and begin with "
            "a letter or a digit"
        )
    try:
        without_graph(name)
    except ValueError as error:
        return f"its name {error}"
    return ""
