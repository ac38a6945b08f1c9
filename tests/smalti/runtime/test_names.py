"""Each name in the Open Inference Protocol means one graph of one model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalti.runtime.families import GRAPHS
from smalti.runtime.names import NAME, TENSORS_GRAPH, fault_of_name, meant_by, protocol_name, without_graph

graphs = st.sampled_from(sorted(GRAPHS | {"draw", TENSORS_GRAPH}))
names = st.from_regex(NAME, fullmatch=True).filter(lambda name: not fault_of_name(name))


def test_a_model_without_images_goes_by_its_own_name_and_a_graph_of_images_by_both():
    assert protocol_name("ResNet50", TENSORS_GRAPH) == "ResNet50"
    assert protocol_name("sprites-vae", "decode") == "sprites-vae.decode"


@given(names, graphs)
def test_a_name_in_the_protocol_means_the_graph_that_it_was_made_for(model: str, graph: str):
    assert meant_by(protocol_name(model, graph)) == (model, graph)


@pytest.mark.parametrize("name", ["", ".", "..", "dec.", "a.b.c", "decode", "dec.Decode", "dec.model"])
def test_a_name_without_a_graph_at_its_end_is_a_models(name: str):
    assert meant_by(name) == (name, TENSORS_GRAPH)


@given(names, graphs.filter(lambda graph: graph != TENSORS_GRAPH))
def test_no_model_has_a_name_that_ends_as_a_graphs_does(model: str, graph: str):
    with pytest.raises(ValueError, match=rf"must not end with '\.{graph}', which names a graph"):
        without_graph(f"{model}.{graph}")
    assert fault_of_name(f"a.{graph}") == f"its name must not end with '.{graph}', which names a graph"
    assert TENSORS_GRAPH not in GRAPHS


@pytest.mark.parametrize("name", ["", ".", "..", "_dec", "-dec", "a/b", "a" * 64, "dec\n", "ü", "a b"])
def test_a_name_that_no_model_may_have_is_said_in_one_way(name: str):
    assert fault_of_name(name).startswith(
        "names of models have at most 63 characters, a-z, A-Z, 0-9, '.', '-' and "
    )
