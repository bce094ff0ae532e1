"""Full configuration interaction of PySCF by `fl.eigsh`, preconditioned by the Hamiltonian's diagonal: N2, five states.

pip install 'fastlanczos' pyscf
"""

import numpy as np
from pyscf import ao2mo, fci, gto, scf
from scipy.sparse.linalg import LinearOperator

import fastlanczos as fl


def hamiltonian(molecule):
    """The Hamiltonian as an operator on coefficients, its diagonal, and the number of products so far."""
    field = scf.RHF(molecule).run()
    orbitals = field.mo_coeff
    one = orbitals.T @ field.get_hcore() @ orbitals
    two = ao2mo.kernel(molecule, orbitals)
    count, electrons = orbitals.shape[1], molecule.nelec
    both = fci.direct_spin1.absorb_h1e(one, two, count, electrons, 0.5)
    side = fci.cistring.num_strings(count, electrons[0])

    def matvec(c):
        return fci.direct_spin1.contract_2e(both, c.reshape(side, -1), count, electrons).ravel()

    diagonal = fci.direct_spin1.make_hdiag(one, two, count, electrons).ravel()
    return LinearOperator((diagonal.size, diagonal.size), matvec=matvec, dtype=float), diagonal, field.energy_nuc()


def davidson(diagonal):
    """The preconditioner of every such program: the diagonal, shifted by the value that is sought."""

    def solve(residual, shift):
        distance = diagonal - shift
        return residual / np.where(np.abs(distance) < 1e-8, 1e-8, distance)

    return solve


if __name__ == "__main__":
    H, diagonal, nuclei = hamiltonian(gto.M(atom="N 0 0 0; N 0 0 1.1", basis="sto-3g", verbose=0))
    energies, _, info = fl.eigsh(H, 5, which="SA", tol=7e-9, preconditioner=davidson(diagonal), return_info=True)
    print(f"energies {(energies + nuclei).round(8).tolist()}, {info.num_matvecs} products")
