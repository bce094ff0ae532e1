"""Largest values of the 2-D Laplacian by fl.eigsh over MPI: mpirun -n 2 python ours.py SIDE K [NCV]; prints JSON."""

import json
import sys
import time

import numpy as np
from mpi4py import MPI

import fastlanczos as fl

side, k = int(sys.argv[1]), int(sys.argv[2])
ncv = int(sys.argv[3]) if len(sys.argv) > 3 else None  # products are cheap, which a callable does not tell
comm = MPI.COMM_WORLD
rank, size = comm.Get_rank(), comm.Get_size()
lines = len(np.array_split(np.arange(side), size)[rank])
below, above = (rank - 1 if rank else MPI.PROC_NULL), (rank + 1 if rank + 1 < size else MPI.PROC_NULL)
fl.set_num_threads(1)
u = np.zeros((lines + 2, side))


def matvec(x):
    """Return the local lines of A x."""
    u[1:-1] = x.reshape(lines, side)
    comm.Sendrecv(u[1], dest=below, recvbuf=u[-1], source=above)
    comm.Sendrecv(u[-2], dest=above, recvbuf=u[0], source=below)
    y = 4.0 * u[1:-1] - u[:-2] - u[2:]
    y[:, 1:] -= u[1:-1, :-1]
    y[:, :-1] -= u[1:-1, 1:]
    return y.ravel()


A = fl.ShardedOperator(matvec, lines * side, comm)
times = []
for _ in range(3):
    comm.Barrier()
    began = time.perf_counter()
    w, _, info = fl.eigsh(A, k, which="LA", tol=1e-10, ncv=ncv, return_info=True)
    times.append(time.perf_counter() - began)
if rank == 0:
    print(json.dumps({"seconds": times, "values": w.tolist(), "products": info.num_matvecs}))
