"""Names of keys."""

import re
from pathlib import Path

from smalti.jobs.keys import CHUNK, Keys, request_key

SCRIPTS = Path(__file__).parents[3] / "smalti" / "jobs" / "scripts"


def test_all_keys_of_a_pool_lie_in_one_slot_of_a_cluster() -> None:
    keys = Keys("red")
    names = [
        keys.meta,
        keys.jobs,
        keys.events,
        keys.bell,
        keys.job("j"),
        keys.pixels("j", 3),
        keys.result("j", 3),
    ]
    assert all(name.startswith("smalti:{red}:") for name in names)


def test_a_chunk_of_results_holds_as_many_in_lua_as_in_python() -> None:
    found = re.search(r"local CHUNK = (\d+)", (SCRIPTS / "shared.lua").read_text())
    assert found is not None
    assert int(found[1]) == CHUNK


def test_a_request_id_may_be_any_text_and_makes_a_short_key() -> None:
    assert request_key("client", "") == ""
    assert re.fullmatch(r"request:[0-9a-f]{32}:[0-9a-f]{32}", request_key("a:b", "{x}" * 1000))
    assert request_key("a", "b:c") != request_key("a:b", "c")


def test_every_script_states_its_contract() -> None:
    for path in SCRIPTS.glob("*.lua"):
        source = path.read_text()
        assert source.startswith(f"-- {path.name}: ")
        assert "KEYS  1" in source
        assert path.name == "shared.lua" or "Returns" in source
