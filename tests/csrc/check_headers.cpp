// Uses the headers as a C++ program would, and checks what they promise. Exit status 0 when all holds.
#include <cstdio>
#include <random>
#include <thread>

#include "fastlanczos/gram.hpp"
#include "fastlanczos/huge_pages.hpp"
#include "fastlanczos/matrix.hpp"
#include "fastlanczos/step.hpp"
#include "fastlanczos/tridiagonal.hpp"

using fastlanczos::Basis;
using fastlanczos::Index;

static std::atomic<int> failures{0};

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

// Dense and sparse products against the plain sum, several vectors at once and one by one.
template <class Value>
static void multiply(Index n, Index count) {
    std::mt19937_64 random(n);
    std::normal_distribution<double> normal;
    const Index stride = n + 5;
    std::vector<Value> dense(n * stride), values;
    std::vector<int> columns, row_start{0};
    for (Index i = 0; i < n; ++i) {
        for (Index j = 0; j < n; ++j) {
            const bool stored = (i * 7 + j * 3) % 4 == 0 && i % 5 != 1;
            dense[i * stride + j] = stored ? static_cast<Value>(normal(random)) : Value(0);
            if (!stored) continue;
            values.push_back(dense[i * stride + j]);
            columns.push_back(static_cast<int>(j));
        }
        row_start.push_back(static_cast<int>(values.size()));
    }
    values.push_back(0);
    columns.push_back(0);  // so that data() is a pointer even where nothing is stored
    std::vector<double> x(count * n), y(count * n), z(count * n), alone(n);
    for (double& xi : x) xi = normal(random);
    std::vector<const double*> xs;
    std::vector<double*> ys, zs;
    for (Index c = 0; c < count; ++c) {
        xs.push_back(x.data() + c * n);
        ys.push_back(y.data() + c * n);
        zs.push_back(z.data() + c * n);
    }
    const fastlanczos::DenseMatrix<Value> D{n, dense.data(), stride};
    const fastlanczos::SparseMatrix<Value, int> S{n, values.data(), columns.data(), row_start.data()};
    fastlanczos::multiply(D, count, xs.data(), ys.data());
    fastlanczos::multiply(S, count, xs.data(), zs.data());
    double worst = 0.0;
    for (Index c = 0; c < count; ++c)
        for (Index i = 0; i < n; ++i) {
            double sum = 0.0;
            for (Index j = 0; j < n; ++j) sum += static_cast<double>(dense[i * stride + j]) * xs[c][j];
            worst = std::max({worst, std::abs(ys[c][i] - sum), std::abs(zs[c][i] - sum)});
        }
    check(worst <= 1e-15 * static_cast<double>(n + 4), "error of a product", n, count, worst);
    double* one = alone.data();
    for (Index c = 0; c < count; ++c) {
        fastlanczos::multiply(D, 1, &xs[c], &one);
        check(std::equal(alone.begin(), alone.end(), ys[c]), "dense product that depends on its company", n, c, 0);
        fastlanczos::multiply(S, 1, &xs[c], &one);
        check(std::equal(alone.begin(), alone.end(), zs[c]), "sparse product that depends on its company", n, c, 0);
    }
}

// A step that is interrupted ends the run and leaves the steps before it.
static void interrupt() {
    const Index n = 300000, m = 8;
    std::vector<double> V(n * m), u(n), z(n), v0(n);
    fastlanczos::request_huge_pages(V.data(), V.size() * sizeof(double));
    for (Index i = 0; i < n; ++i) v0[i] = std::sin(static_cast<double>(i));
    fastlanczos::Memory memory;
    memory.basis = V.data();
    memory.stride = n;
    memory.candidate = u.data();
    fastlanczos::Lanczos lanczos(n, m, Basis::float64, memory);
    lanczos.start(v0.data());
    for (int k = 0; k < 3; ++k) {
        for (Index i = 0; i < n; ++i) z[i] = static_cast<double>(i % 17) * u[i];
        lanczos.step(z.data());
    }
    const double residual = lanczos.residual_norm();
    for (Index i = 0; i < n; ++i) z[i] = static_cast<double>(i % 17) * u[i];
    fastlanczos::Interrupt now([] { return true; });
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
    now.check();
    check(lanczos.step(z.data(), &now) == fastlanczos::Outcome::interrupted, "outcome of an interrupted step", n, m, 0);
    check(lanczos.finished() && lanczos.interrupted(), "run that goes on after an interrupt", n, m, 0);
    check(lanczos.state().steps == 3, "steps after an interrupt", n, m, static_cast<double>(lanczos.state().steps));
    check(lanczos.residual_norm() == residual, "residual after an interrupt", n, m, lanczos.residual_norm());
}

// (B - c d^T)^T (B - c d^T) x of dense and sparse rows, with any number of threads.
template <class Value>
static void gram(Index rows, Index n) {
    std::vector<Value> values(static_cast<std::size_t>(rows * n));
    std::vector<int> columns, row_start{0};
    std::vector<double> x(static_cast<std::size_t>(n)), c(static_cast<std::size_t>(rows)), d(x), y(x), z(x), wanted(x);
    for (Index i = 0; i < rows; ++i) {
        c[static_cast<std::size_t>(i)] = std::cos(static_cast<double>(i));
        for (Index j = 0; j < n; ++j) {
            values[static_cast<std::size_t>(i * n + j)] = static_cast<Value>(std::sin(static_cast<double>(i * n + j)));
            columns.push_back(static_cast<int>(j));
        }
        row_start.push_back(static_cast<int>(columns.size()));
    }
    for (Index j = 0; j < n; ++j) {
        x[static_cast<std::size_t>(j)] = std::sin(static_cast<double>(3 * j + 1));
        d[static_cast<std::size_t>(j)] = std::sin(static_cast<double>(5 * j + 2));
    }
    double size = 0.0;
    for (Index i = 0; i < rows; ++i) {
        double s = 0.0;
        const auto entry = [&](Index j) {
            return static_cast<double>(values[static_cast<std::size_t>(i * n + j)]) -
                   c[static_cast<std::size_t>(i)] * d[static_cast<std::size_t>(j)];
        };
        for (Index j = 0; j < n; ++j) s += entry(j) * x[static_cast<std::size_t>(j)];
        for (Index j = 0; j < n; ++j) wanted[static_cast<std::size_t>(j)] += s * entry(j);
        size += std::abs(s) * static_cast<double>(n);
    }
    const fastlanczos::TallDense<Value> D{rows, n, values.data(), n, false};
    const fastlanczos::TallSparse<Value, int> S{rows, n, values.data(), columns.data(), row_start.data(), false};
    const fastlanczos::RankOne less{c.data(), d.data()};
    std::vector<double> others(static_cast<std::size_t>(fastlanczos::gram_scratch(D)) + 1);
    const int limit = fastlanczos::thread_limit().load();
    for (const int threads : {1, 3}) {
        fastlanczos::thread_limit().store(threads);
        std::vector<double> before = y;
        fastlanczos::gram_multiply(D, less, x.data(), y.data(), others.data());
        fastlanczos::gram_multiply(S, less, x.data(), z.data(), others.data());
        double worst = 0.0;
        for (std::size_t j = 0; j < wanted.size(); ++j)
            worst = std::max({worst, std::abs(y[j] - wanted[j]), std::abs(z[j] - wanted[j])});
        check(worst <= 1e-14 * (size + 1.0), "error of a product with both factors", rows, n, worst);
        check(threads == 1 || y == before, "product with both factors that depends on the threads", rows, n, 0);
    }
    fastlanczos::thread_limit().store(limit);
}

int main() {
    std::printf("%s kernels, %d threads\n", fastlanczos::kernels().instruction_set, fastlanczos::num_threads());
    for (const Index n : {1, 2, 7, 8, 63, 256, 257, 2049, 20011})
        for (const Index m : {1, 2, 3, 9, 40}) {
            run<double>(n, m, Basis::float64, 1e-13);
            run<float>(n, m, Basis::float32, 1e-6);
            run<double>(n, m, Basis::none, 1e-13);
        }
    for (const Index n : {1, 2, 3, 4, 5, 31, 64, 150, 301})
        for (const Index count : {1, 2, 4, 7}) {
            multiply<double>(n, count);
            multiply<float>(n, count);
        }
    for (const auto& [rows, n] : {std::pair<Index, Index>{1, 1}, {2, 3}, {40, 7}, {301, 64}, {3000, 33}}) {
        gram<double>(rows, n);
        gram<float>(rows, n);
    }
    interrupt();
    std::vector<std::thread> callers;  // each finds the pool free or busy
    for (const Index n : {20011, 30000, 20011, 500})
        callers.emplace_back([n] {
            for (int repeat = 0; repeat < 3; ++repeat) run<double>(n, 12, Basis::float64, 1e-13);
        });
    for (std::thread& caller : callers) caller.join();
    std::printf("%d failures\n", failures.load());
    return failures != 0;
}
