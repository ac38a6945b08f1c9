"""What the log says of an error that nothing catches."""

import json
import subprocess
import sys

BROKEN = """
from smalti.runtime import logs
logs.configure(level="info", form="json", process=2)
raise ZeroDivisionError("broken")
"""


def test_an_error_that_nothing_catches_is_one_line_of_json_with_the_number_of_the_process():
    done = subprocess.run(
        [sys.executable, "-c", BROKEN], capture_output=True, text=True, check=False, timeout=60
    )
    line = json.loads(done.stderr)
    assert done.returncode == 1
    assert (line["event"], line["level"], line["process"]) == (
        "bug in smalti, please report it",
        "critical",
        2,
    )
    assert "ZeroDivisionError: broken" in line["exception"]
