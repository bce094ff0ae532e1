"""A run that is stopped, stored in a file, and taken up again to the same bits: python examples/interrupted_run.py."""

import pickle
import tempfile
from pathlib import Path

import numpy as np

import fastlanczos as fl


def main():
    d = np.linspace(-1.0, 1.0, 50_000) ** 3

    it = fl.LanczosIteration(d.size, 80, seed=0)
    for _ in range(30):
        it.step(d * it.vector)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.pickle"
        file.write_bytes(pickle.dumps(it.state_dict()))
        del it
        it = fl.LanczosIteration.from_state_dict(pickle.loads(file.read_bytes()))
    print(f"taken up again: {it}")
    while it.step(d * it.vector):
        pass

    whole = fl.lanczos(lambda v: d * v, d.size, 80, seed=0)
    print("same bits as without the interruption:", it.result().alpha.tobytes() == whole.alpha.tobytes())


if __name__ == "__main__":
    main()
