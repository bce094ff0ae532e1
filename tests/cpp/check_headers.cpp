// Uses the headers as a C++ program would, and checks what they promise. Exit status 0 when all holds.
#include <cstdio>
#include <random>

#include "fastlanczos/step.hpp"
#include "fastlanczos/tridiagonal.hpp"

using fastlanczos::Basis;
using fastlanczos::Index;

static int failures = 0;

static void check(bool holds, const char* what, Index n, Index m, double value) {
    if (holds) return;
    std::printf("n = %td, m = %td: %s is %g\n", n, m, what, value);
    ++failures;
}

template <class Row>
static void run(Index n, Index m, Basis basis, double tolerance) {
    std::mt19937_64 random(n + m);
    std::normal_distribution<double> normal;
    std::vector<double> d(n), v0(n), z(n), u(n);
    for (Index i = 0; i < n; ++i) {
        d[i] = 1.0 + 2.0 * static_cast<double>(i) / static_cast<double>(n);
        v0[i] = normal(random);
    }
    const Index rows = basis == Basis::none ? 0 : std::min(n, m), stride = n + 3;
    std::vector<Row> V(rows * stride);
    std::vector<double> recent(basis == Basis::none ? n : 2 * n);
    fastlanczos::Memory memory;
    memory.basis = V.data();
    memory.stride = stride;
    memory.candidate = u.data();
    memory.recent = recent.data();
    fastlanczos::Lanczos lanczos(n, m, basis, memory);
    if (!lanczos.start(v0.data())) check(false, "start", n, m, 0.0);
    while (!lanczos.finished()) {
        for (Index i = 0; i < n; ++i) z[i] = d[i] * lanczos.vector()[i];
        lanczos.step(z.data());
    }

    const Index k = lanczos.state().steps;
    std::vector<double> alpha(k), beta(k), nodes(k), weights(k);
    for (Index j = 0; j < k; ++j) {
        alpha[j] = lanczos.alpha(j);
        beta[j] = lanczos.beta(j);
    }
    check(fastlanczos::gauss_quadrature(1, k, alpha.data(), beta.data(), nodes.data(), weights.data()) == 0,
          "quadrature", n, m, 0.0);
    check(nodes[0] >= 1.0 - 1e-12 && nodes[k - 1] <= 3.0 + 1e-12, "a Ritz value outside the spectrum", n, m,
          nodes[k - 1]);
    double worst = 0.0;
    for (Index i = 0; i < (rows ? k : 0); ++i)
        for (Index j = 0; j <= i; ++j) {
            double dot = i == j ? -1.0 : 0.0;
            for (Index c = 0; c < n; ++c) dot += static_cast<double>(V[i * stride + c]) * V[j * stride + c];
            worst = std::max(worst, std::abs(dot));
        }
    check(worst < tolerance, "departure from orthonormality", n, m, worst);
    check(lanczos.max_projection() < 3.0 * std::max(tolerance, 1e-14), "asymmetry", n, m, lanczos.max_projection());
}

int main() {
    std::printf("%s kernels, %d threads\n", fastlanczos::kernels().instruction_set, fastlanczos::num_threads());
    for (const Index n : {1, 2, 7, 8, 63, 256, 257, 2049, 20011})
        for (const Index m : {1, 2, 3, 9, 40}) {
            run<double>(n, m, Basis::float64, 1e-13);
            run<float>(n, m, Basis::float32, 1e-6);
            run<double>(n, m, Basis::none, 1e-13);
        }
    std::printf("%d failures\n", failures);
    return failures != 0;
}
