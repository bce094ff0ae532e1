"""The same by SLEPc's Krylov-Schur: mpirun -n 2 /usr/bin/python3 slepc.py SIDE K; prints JSON.

Debian's packages python3-slepc4py and python3-petsc4py; it needs SLEPC_DIR and PETSC_DIR where those do not find them.
"""

import json
import sys
import time

import slepc4py

slepc4py.init([sys.argv[0]])
from petsc4py import PETSc  # noqa: E402
from slepc4py import SLEPc  # noqa: E402

side, k = int(sys.argv[1]), int(sys.argv[2])
A = PETSc.Mat().createAIJ([side * side, side * side], nnz=5)
first, last = A.getOwnershipRange()
for row in range(first, last):
    i, j = divmod(row, side)
    A[row, row] = 4.0
    for column, inside in (
        (row - side, i > 0),
        (row + side, i + 1 < side),
        (row - 1, j > 0),
        (row + 1, j + 1 < side),
    ):
        if inside:
            A[row, column] = -1.0
A.assemble()
times = []
for _ in range(3):
    E = SLEPc.EPS().create()
    E.setOperators(A)
    E.setProblemType(SLEPc.EPS.ProblemType.HEP)
    E.setWhichEigenpairs(SLEPc.EPS.Which.LARGEST_REAL)
    E.setDimensions(k)
    E.setTolerances(1e-10, 100000)
    PETSc.COMM_WORLD.barrier()
    began = time.perf_counter()
    E.solve()
    times.append(time.perf_counter() - began)
values = sorted(E.getEigenvalue(i).real for i in range(min(k, E.getConverged())))
if PETSc.COMM_WORLD.getRank() == 0:
    print(json.dumps({"seconds": times, "values": values, "products": E.getIterationNumber()}))
