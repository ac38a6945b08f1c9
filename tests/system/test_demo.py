"""`make demo` runs to its end, writes a sheet and prints latencies."""

import os
import re
import subprocess
import sys

from PIL import Image as pillow

from smalti.runtime.repository import ModelRepository
from tests.system.cluster import ROOT


def test_the_demo_draws_a_sheet_and_prints_latencies(tmp_path):
    sheet = tmp_path / "demo.png"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SMALTI_")}
    done = subprocess.run(
        [sys.executable, "-m", "local.demo", "--samples", "12", "--output", str(sheet)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    models = models_named_in(done.stdout)
    assert [model.family for model in models] == ["pixel_rnn", "vae", "gan"]
    with pillow.open(sheet) as image:
        assert (image.format, image.size) == ("PNG", sheet_size(models))
        assert len(image.convert("RGB").getcolors(maxcolors=1 << 24) or ()) > 3
    assert str(sheet) in done.stdout.replace("\n", "")
    for line in ("JobService/Submit", "ImageService/Draw", "time to first row", "tick", "commit", "job"):
        assert re.search(rf"{line}.*\d+\.\d+ +\d+\.\d+ +\d+\.\d+", done.stdout), line


def models_named_in(printed):
    """The manifests of the models that the demo names, in order."""
    names = re.findall(r"(?:samples of|one-shot requests to) ([a-z-]+)", printed)
    repository = ModelRepository(ROOT / "model_repository")
    return [repository.load(name, max(repository.models()[name])).manifest for name in names]


def sheet_size(models):
    """Twelve images of each model side by side, four times as large, under a line with its name."""
    width = max((12 * (model.width + 1) + 1) * 4 for model in models)
    return width, sum(16 + (model.height + 2) * 4 + 4 for model in models)
