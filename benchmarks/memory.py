"""Memory of two training steps of one form of one method, in a process of its own.

    python -m benchmarks.memory scale-mae ours --batch 4

Prints one JSON object: MiB before the steps (both forms' weights and the batch), and what the steps add at their
largest: gradients, activations, temporaries.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import torch

from benchmarks.machine import peak_memory, reset_peak_memory
from benchmarks.published import METHODS, loss
from ecotone.training.precision import autocast


def measured(name: str, form: str, count: int, precision: str, device: torch.device) -> dict[str, float]:
    """As ``main``, from another process."""
    command = [sys.executable, "-m", "benchmarks.memory", name, form, "--batch", str(count), "--precision", precision]
    command += ["--device", str(device), "--threads", str(torch.get_num_threads())]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=METHODS)
    parser.add_argument("form", choices=("ours", "literal"))
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--device", default="cpu", type=torch.device)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    setup = METHODS[options.name](options.batch).to(options.device)
    method = setup.ours if options.form == "ours" else setup.literal
    assert method is not None
    before = reset_peak_memory(options.device)
    for _ in range(2):
        method.zero_grad()
        with autocast(options.precision, options.device):
            total = loss(method, setup.batch)
        total.backward()
    print(json.dumps({"before_mib": before, "step_mib": peak_memory(options.device) - before}))


if __name__ == "__main__":
    main()
