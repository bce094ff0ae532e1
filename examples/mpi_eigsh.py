"""Eigenpairs of the 2-D Laplacian, its grid lines shared out over MPI ranks: mpirun -n 2 python examples/mpi_eigsh.py

Each rank has some lines of the grid, and of every vector their entries. A product needs one line of each neighbour.
"""

import numpy as np
from mpi4py import MPI

import fastlanczos as fl


def laplacian(side, comm):
    """Return the Laplacian of a side x side grid, of which each rank has some lines."""
    rank, size = comm.Get_rank(), comm.Get_size()
    lines = len(np.array_split(np.arange(side), size)[rank])
    below, above = (rank - 1 if rank else MPI.PROC_NULL), (rank + 1 if rank + 1 < size else MPI.PROC_NULL)
    u = np.zeros((lines + 2, side))  # a neighbour's line, or zeros beyond the edge, at either end

    def matvec(x):
        u[1:-1] = x.reshape(lines, side)
        comm.Sendrecv(u[1], dest=below, recvbuf=u[-1], source=above)
        comm.Sendrecv(u[-2], dest=above, recvbuf=u[0], source=below)
        y = 4.0 * u[1:-1] - u[:-2] - u[2:]
        y[:, 1:] -= u[1:-1, :-1]
        y[:, :-1] -= u[1:-1, 1:]
        return y.ravel()

    return fl.ShardedOperator(matvec, lines * side, comm)


def main(side=200):
    """Print the six largest eigenvalues, and how far they are off."""
    A = laplacian(side, MPI.COMM_WORLD)
    # w is the same on all ranks, V has the local rows. Products are cheap, which a callable does not tell: hence ncv.
    w, V, info = fl.eigsh(A, 6, which="LA", ncv=30, return_info=True)
    if MPI.COMM_WORLD.Get_rank() == 0:
        one = 2 - 2 * np.cos(np.pi * np.arange(1, side + 1) / (side + 1))
        exact = np.sort(np.add.outer(one, one).ravel())[-6:]
        print(A)
        print("eigenvalues", w.round(10))
        print(
            f"off by {np.abs(w - exact).max():.1e} at most, after {info.num_matvecs} products; local vectors {V.shape}"
        )


if __name__ == "__main__":
    main()
