"""Freed memory stays in the process for later steps."""

import subprocess
import sys

PROGRAM = """
import resource, torch
from training import memory
memory.keep()
def step():
    return [torch.ones(1 << 22) for _ in range(8)]  # 16 MiB each
step(), step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_freed_memory_is_used_again_without_new_pages():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 40_000  # 163,840 if every page were fresh
