from pathlib import Path

import numpy as np
import pytest

from server.messages.images import writers
from server.oneshot.catalogue import ServedModel
from smalti.errors import RepositoryDamaged
from tests.server.toys import write_vae


def test_drawing_a_colour_that_the_palette_lacks_is_an_error_of_the_model(tmp_path: Path):
    served = ServedModel(write_vae(tmp_path), {}, {})
    with pytest.raises(RepositoryDamaged, match="drew a colour that its palette does not have"):
        writers(served, np.full((1, 4, 5), 4), 0)
