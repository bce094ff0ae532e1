// Lanczos from C++, no Python: the largest eigenvalues of a two-dimensional Laplacian, which are known.
#include <cmath>
#include <cstdio>
#include <vector>

#include "fastlanczos/step.hpp"
#include "fastlanczos/tridiagonal.hpp"

using fastlanczos::Index;

int main() {
    const Index side = 120, n = side * side, num_steps = 400;

    std::vector<double> basis(n * num_steps), candidate(n), z(n);
    fastlanczos::Memory memory;
    memory.basis = basis.data();
    memory.stride = n;
    memory.candidate = candidate.data();
    fastlanczos::Lanczos lanczos(n, num_steps, fastlanczos::Basis::float64, memory);

    std::vector<double> start(n);
    for (Index i = 0; i < n; ++i) start[i] = std::sin(1.0 + static_cast<double>(i) * static_cast<double>(i % 97));
    lanczos.start(start.data());

    fastlanczos::Outcome outcome = fastlanczos::Outcome::running;
    while (outcome == fastlanczos::Outcome::running) {
        const double* v = lanczos.vector();
        for (Index r = 0; r < side; ++r)
            for (Index c = 0; c < side; ++c) {
                const Index i = r * side + c;
                double sum = 4.0 * v[i];
                if (r > 0) sum -= v[i - side];
                if (r + 1 < side) sum -= v[i + side];
                if (c > 0) sum -= v[i - 1];
                if (c + 1 < side) sum -= v[i + 1];
                z[i] = sum;
            }
        outcome = lanczos.step(z.data());
    }

    const Index m = lanczos.state().steps;
    std::vector<double> alpha(m), beta(m), ritz(m), weights(m);
    for (Index k = 0; k < m; ++k) {
        alpha[k] = lanczos.alpha(k);
        beta[k] = lanczos.beta(k);
    }
    // One matrix of order m; returns how many did not converge.
    if (fastlanczos::gauss_quadrature(1, m, alpha.data(), beta.data(), ritz.data(), weights.data()) != 0) return 1;

    // The largest eigenvalue is 4 - 4 cos(side pi / (side + 1)).
    const double pi = std::acos(-1.0);
    const double exact = 4.0 - 4.0 * std::cos(static_cast<double>(side) * pi / static_cast<double>(side + 1));
    std::printf("n = %td, %td steps, %d threads, %s kernels\n", n, m, fastlanczos::num_threads(),
                fastlanczos::kernels().instruction_set);
    std::printf("largest Ritz values: %.12f %.12f %.12f\n", ritz[m - 1], ritz[m - 2], ritz[m - 3]);
    std::printf("error of the largest, relative to the norm: %.1e\n", std::abs(ritz[m - 1] - exact) / 8.0);
    return std::abs(ritz[m - 1] - exact) < 1e-12 * 8.0 ? 0 : 1;
}
