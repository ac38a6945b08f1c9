import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from server.oneshot.warming import open_runners
from smalti.errors import GraphFailed, RepositoryDamaged
from smalti.runtime.manifest import MANIFEST
from smalti.runtime.provider import CPU
from smalti.runtime.repository import ModelRepository
from tests.server.toys import LATENT, write_vae

WARM = dict.fromkeys(("encode", "decode", "score"), 2)
SHIPPED = Path(__file__).parents[3] / "model_repository"


@pytest.mark.parametrize(
    "name", ["digits-pixel-rnn", "digits-pixel-rnn-lecture", "digits-pixel-rnn-lecture-int8"]
)
def test_a_palette_too_short_for_a_score_graph_is_found_when_the_graph_is_opened(tmp_path: Path, name: str):
    shutil.copytree(SHIPPED / name, tmp_path / name)
    shorten_palette(tmp_path / name / "1" / MANIFEST)
    model = ModelRepository(tmp_path).load(name)
    with ThreadPoolExecutor(1) as pool, pytest.raises(RepositoryDamaged, match="knows more colours"):
        open_runners(model, pool, provider=CPU, warm_entries=WARM)


def shorten_palette(file: Path) -> None:
    manifest = json.loads(file.read_text())
    file.write_text(json.dumps(manifest | {"palette": manifest["palette"][:-1]}))


def test_inputs_that_onnxruntime_refuses_are_a_failed_graph(tmp_path: Path):
    write_vae(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        runners = open_runners(
            ModelRepository(tmp_path).load("toy-vae"), pool, provider=CPU, warm_entries=WARM
        )
        with pytest.raises(GraphFailed, match="dimensions"):
            runners["decode"].run({"latent": np.zeros((1, LATENT + 1), np.float32)})
