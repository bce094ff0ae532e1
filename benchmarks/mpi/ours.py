"""Largest values of the 2-D Laplacian by fl.eigsh over MPI: mpirun -n 2 python ours.py SIDE K [NCV]; prints JSON."""

import json
import sys
import time
from pathlib import Path

from mpi4py import MPI

import fastlanczos as fl

sys.path.append(str(Path(__file__).parents[2] / "examples"))
from mpi_eigsh import laplacian

side, k = int(sys.argv[1]), int(sys.argv[2])
ncv = int(sys.argv[3]) if len(sys.argv) > 3 else None  # products are cheap, which a callable does not tell
fl.set_num_threads(1)
A = laplacian(side, MPI.COMM_WORLD)
times = []
for _ in range(3):
    MPI.COMM_WORLD.Barrier()
    began = time.perf_counter()
    w, _, info = fl.eigsh(A, k, which="LA", tol=1e-10, ncv=ncv, return_info=True)
    times.append(time.perf_counter() - began)
if MPI.COMM_WORLD.Get_rank() == 0:
    print(json.dumps({"seconds": times, "values": w.tolist(), "products": info.num_matvecs}))
