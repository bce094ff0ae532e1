// The kernels on the emulated device against the CPU engine: prints what disagrees, and returns how many things did.
//
//     check_kernels SEED [FAULT]    every case, with thread orders drawn from SEED, and one fault of the headers on
#include <cstdio>
#include <random>

#include "fastlanczos/cuda/step.cuh"
#include "fastlanczos/cuda/tridiagonal.cuh"
#include "fastlanczos/step.hpp"
#include "fastlanczos/tridiagonal.hpp"

namespace cuda = fastlanczos::cuda;
using emulation::Device;
using Vector = std::vector<double>;
using cuda::Index;

namespace {

int failures = 0;

void expect(bool condition, const std::string& what) {
    if (condition) return;
    ++failures;
    std::printf("%s\n", what.c_str());
}

struct Case {
    Index dim, steps;
    cuda::Basis basis = cuda::Basis::float64;
    int threads = 64;
    std::size_t shared_bytes = 40 * 1024;
    int multiprocessors = 3;
    int runs = 1;
    bool cooperative = true;
    double scale = 1.0;     // of the operator
    Index eigenvalues = 0;  // distinct ones; 0: all different
    double spike = 0.0;     // one eigenvalue far away

    std::string name() const {
        const char* names[] = {"none", "float32", "float64"};
        char text[200];
        std::snprintf(text, sizeof text,
                      "n %lld, m %lld, %s, %d threads, %zu KiB, %d SMs, %d runs%s, norm %g, %lld: ", dim, steps,
                      names[static_cast<int>(basis)], threads, shared_bytes / 1024, multiprocessors, runs,
                      cooperative ? "" : ", phase by phase", scale, eigenvalues);
        return text;
    }
};

// Makes the device the one of a case, and returns the batch of its runs, which are still to be filled in.
cuda::Batch device_for(const Case& c) {
    emulation::Settings& settings = Device::get().settings;
    settings.multiprocessors = c.multiprocessors;
    settings.shared_bytes = c.shared_bytes;
    settings.cooperative = c.cooperative;
    cuda::Batch batch;
    batch.count = c.runs;
    batch.blocks = c.multiprocessors;
    batch.shared_bytes = static_cast<Index>(c.shared_bytes);
    return batch;
}

Vector normal(Index n, unsigned seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<double> draw;
    Vector x(static_cast<std::size_t>(n));
    for (double& xi : x) xi = draw(random);
    return x;
}

template <class T>
T* on_device(std::size_t count) {
    auto* memory = static_cast<T*>(Device::get().allocate(count * sizeof(T)));
    if (!memory) throw std::bad_alloc();
    return memory;
}

// A run on the device, in memory of its own.
struct DeviceRun {
    cuda::Run run{};
    Vector operator_;
    int told[2] = {0, 0};

    DeviceRun(const Case& c, Vector diagonal, const Vector& v0) : operator_(std::move(diagonal)) {
        const auto n = static_cast<std::size_t>(c.dim);
        run.dim = c.dim;
        run.max_steps = std::min(c.dim, c.steps);
        const std::size_t itemsize = c.basis == cuda::Basis::float32 ? 4 : 8;
        const Index piece = static_cast<Index>(16 / itemsize);
        run.stride = (c.dim + piece - 1) / piece * piece;
        run.basis = c.basis == cuda::Basis::none
                        ? nullptr
                        : on_device<unsigned char>(static_cast<std::size_t>(run.max_steps * run.stride) * itemsize);
        run.candidate = on_device<double>(n);
        run.vector = on_device<double>(n);
        run.recent = on_device<double>(2 * n + 2);
        run.z = on_device<double>(n);
        const auto entries =
            static_cast<std::size_t>(cuda::workspace_entries(run.max_steps, c.multiprocessors, c.basis));
        auto* workspace = on_device<double>(entries);
        cuda::cut_workspace(workspace, run.max_steps, c.multiprocessors, c.basis, run);
        *run.scalars = cuda::Scalars();
        run.told = told;
        double square = 0.0;
        for (double x : v0) square += x * x;
        for (std::size_t i = 0; i < n; ++i) run.candidate[i] = run.vector[i] = v0[i] / std::sqrt(square);
    }

    DeviceRun(const DeviceRun&) = delete;

    void multiply() {
        for (std::size_t i = 0; i < operator_.size(); ++i) const_cast<double*>(run.z)[i] = operator_[i] * run.vector[i];
    }

    template <class Value>
    double orthogonality() const {
        const auto* rows = static_cast<const Value*>(run.basis);
        double worst = 0.0;
        for (Index i = 0; i < run.scalars->steps; ++i)
            for (Index j = 0; j <= i; ++j) {
                double dot = i == j ? -1.0 : 0.0;
                for (Index c = 0; c < run.dim; ++c)
                    dot +=
                        static_cast<double>(rows[i * run.stride + c]) * static_cast<double>(rows[j * run.stride + c]);
                worst = std::max(worst, std::abs(dot));
            }
        return worst;
    }

    ~DeviceRun() {
        for (void* memory : {run.basis, static_cast<void*>(run.candidate), static_cast<void*>(run.vector),
                             static_cast<void*>(run.recent), static_cast<void*>(const_cast<double*>(run.z)),
                             static_cast<void*>(run.coefficients)})
            Device::get().release(memory);
    }
};

// The run on the CPU engine.
struct HostRun {
    Vector basis, candidate, recent, operator_;
    fastlanczos::Lanczos lanczos;

    HostRun(const Case& c, Vector diagonal, const Vector& v0)
        : basis(static_cast<std::size_t>(std::min(c.dim, c.steps) * c.dim)),
          candidate(v0.size()),
          recent(2 * v0.size()),
          operator_(std::move(diagonal)),
          lanczos(c.dim, c.steps, static_cast<fastlanczos::Basis>(c.basis),
                  {basis.data(), c.dim, candidate.data(), recent.data()}) {
        lanczos.start(v0.data());
        while (!lanczos.finished()) {
            Vector z(v0.size());
            for (std::size_t i = 0; i < z.size(); ++i) z[i] = operator_[i] * lanczos.vector()[i];
            lanczos.step(z.data());
        }
    }
};

void check(const Case& c) {
    cuda::Batch batch = device_for(c);
    std::vector<std::unique_ptr<DeviceRun>> runs;
    std::vector<Vector> starts, diagonals;
    for (int r = 0; r < c.runs; ++r) {
        const auto seed = static_cast<unsigned>(r);
        Vector diagonal = normal(c.dim, 7 + seed);
        for (std::size_t i = 0; i < diagonal.size(); ++i) {
            if (c.eigenvalues) diagonal[i] = 1.0 + static_cast<double>(static_cast<Index>(i) % c.eigenvalues);
            if (c.spike != 0.0 && i == 3) diagonal[i] = c.spike;
            diagonal[i] *= c.scale;
        }
        diagonals.push_back(diagonal);
        starts.push_back(normal(c.dim, 99 + seed));
        runs.push_back(std::make_unique<DeviceRun>(c, diagonal, starts.back()));
        batch.runs[r] = runs.back()->run;
    }
    try {
        for (Index k = 0; k < c.steps + 1; ++k) {  // one launch too many changes nothing
            for (auto& run : runs) run->multiply();
            cuda::launch_step(batch, c.basis, c.threads, true, nullptr);
        }
    } catch (const emulation::Failure& failure) {
        expect(false, c.name() + failure.what());
        return;
    }
    for (int r = 0; r < c.runs; ++r) {
        HostRun host(c, diagonals[static_cast<std::size_t>(r)], starts[static_cast<std::size_t>(r)]);
        const cuda::Run& run = runs[static_cast<std::size_t>(r)]->run;
        const cuda::Scalars& s = *run.scalars;
        const fastlanczos::State& state = host.lanczos.state();
        expect(s.steps == state.steps,
               c.name() + "steps " + std::to_string(s.steps) + ", not " + std::to_string(state.steps));
        if (c.spike != 0.0) expect(s.sweeps > s.steps, c.name() + "no candidate was corrected again");
        expect((s.status == cuda::Status::breakdown) == state.breakdown, c.name() + "breakdown differs");
        expect(runs[static_cast<std::size_t>(r)]->told[0] == static_cast<int>(s.status),
               c.name() + "the host was told otherwise");
        if (s.steps != state.steps) continue;
        // Bases that differ by rounding give entries of T that drift apart; its eigenvalues do not.
        const Index k = s.steps;
        Vector a, b, nodes(static_cast<std::size_t>(2 * k)), weights(nodes.size());
        for (const bool ours : {true, false})
            for (Index j = 0; j < k; ++j) {
                const auto i = static_cast<std::size_t>(j);
                a.push_back(ours ? std::ldexp(run.alpha[j], s.exponent) : host.lanczos.alpha(j));
                if (j + 1 < k) b.push_back(ours ? std::ldexp(run.beta[j], s.exponent) : host.lanczos.beta(j));
                (void)i;
            }
        fastlanczos::gauss_quadrature(2, k, a.data(), b.data(), nodes.data(), weights.data());
        double norm = 0.0, apart = 0.0;
        for (Index j = 0; j < k; ++j) {
            norm = std::max(norm, std::abs(nodes[static_cast<std::size_t>(k + j)]));
            apart =
                std::max(apart, std::abs(nodes[static_cast<std::size_t>(j)] - nodes[static_cast<std::size_t>(k + j)]));
        }
        char text[100];
        std::snprintf(text, sizeof text, "T's eigenvalues differ by %.1e", apart / norm);
        const double tolerance = c.basis == cuda::Basis::float64   ? 1e-14
                                 : c.basis == cuda::Basis::float32 ? 1e-11
                                                                   : 1e-13;
        expect(apart <= tolerance * norm, c.name() + text);
        const double projection = std::ldexp(s.max_projection, s.exponent);
        expect(projection <= (c.basis == cuda::Basis::float32 ? 1e-6 : 1e-13) * norm,
               c.name() + "asymmetry of a symmetric operator");
        if (c.basis == cuda::Basis::float64)
            expect(runs[static_cast<std::size_t>(r)]->orthogonality<double>() < 1e-14,
                   c.name() + "the rows are not orthonormal");
        if (c.basis == cuda::Basis::float32)
            expect(runs[static_cast<std::size_t>(r)]->orthogonality<float>() < 1e-6,
                   c.name() + "the rows are not orthonormal");
    }
}

// The bits of T after a few steps of `runs` runs that go together.
Vector bits(Case c, unsigned seed) {
    cuda::Batch batch = device_for(c);
    std::swap(Device::get().settings.seed, seed);
    std::vector<std::unique_ptr<DeviceRun>> runs;
    for (int r = 0; r < c.runs; ++r) {
        const auto start = static_cast<unsigned>(r + 1);
        runs.push_back(std::make_unique<DeviceRun>(c, normal(c.dim, 1), normal(c.dim, start)));
        batch.runs[r] = runs.back()->run;
    }
    for (Index k = 0; k < c.steps; ++k) {
        for (auto& run : runs) run->multiply();
        cuda::launch_step(batch, c.basis, c.threads, true, nullptr);
    }
    std::swap(Device::get().settings.seed, seed);
    return Vector(runs[0]->run.alpha, runs[0]->run.alpha + c.steps);
}

// A product with entries that are not finite leaves the run as it was.
void check_not_finite() {
    const Case c{100, 10};
    cuda::Batch batch = device_for(c);
    DeviceRun run(c, normal(c.dim, 1), normal(c.dim, 2));
    batch.runs[0] = run.run;
    for (int k = 0; k < 6; ++k) {
        run.multiply();
        if (k == 4) const_cast<double*>(run.run.z)[17] = const_cast<double*>(run.run.z)[99] = HUGE_VAL;
        cuda::launch_step(batch, c.basis, c.threads, true, nullptr);
    }
    const cuda::Scalars& s = *run.run.scalars;
    expect(s.steps == 4 && s.status == cuda::Status::not_finite && s.not_finite == 2.0 && run.told[0] == 3,
           "a product that is not finite: step " + std::to_string(s.steps) + ", " + std::to_string(s.not_finite) +
               " entries");
    for (int i = 0; i < 100; ++i) expect(std::isfinite(run.run.vector[i]), "the vector was lost with the product");
}

// Bytes read of V in one step, over rows * columns * itemsize.
double traffic(const Case& c, Index rows) {
    cuda::Batch batch = device_for(c);
    DeviceRun run(c, normal(c.dim, 1), normal(c.dim, 2));
    batch.runs[0] = run.run;
    for (Index k = 0; k < rows; ++k) {
        run.multiply();
        cuda::launch_step(batch, c.basis, c.threads, true, nullptr);
    }
    run.multiply();
    Device::get().bytes_read(run.run.basis) = 0;
    cuda::launch_step(batch, c.basis, c.threads, true, nullptr);
    const double itemsize = c.basis == cuda::Basis::float32 ? 4.0 : 8.0;
    return static_cast<double>(Device::get().bytes_read(run.run.basis)) /
           (static_cast<double>(rows * c.dim) * itemsize);
}

void check_quadrature(Index count, Index m) {
    const Vector alpha = normal(count * m, 5), beta = normal(count * (m - 1) + 1, 6);
    const auto size = static_cast<std::size_t>(count * m);
    auto *a = on_device<double>(size), *b = on_device<double>(size), *x = on_device<double>(size),
         *w = on_device<double>(size), *workspace = on_device<double>(3 * size);
    auto* failed = on_device<int>(static_cast<std::size_t>(count));
    std::copy(alpha.begin(), alpha.end(), a);
    std::copy(beta.begin(), beta.end() - 1, b);
    for (Index i = 0; i + 1 < m; ++i) b[i] *= std::pow(10.0, static_cast<double>(-i));  // a graded one
    if (m > 2) b[m - 2] = 0.0;
    cuda::launch_quadrature(count, m, a, b, x, w, workspace, failed, nullptr);
    Vector nodes(size), weights(size);
    fastlanczos::gauss_quadrature(count, m, a, b, nodes.data(), weights.data());
    double node_error = 0.0, weight_error = 0.0;
    for (Index t = 0; t < count; ++t) {
        double sum = 0.0, other_sum = 0.0, norm = 0.0;
        for (Index i = 0; i < m; ++i) norm = std::max(norm, std::abs(nodes[static_cast<std::size_t>(t * m + i)]));
        for (Index i = 0; i < m; ++i) {
            const auto at = static_cast<std::size_t>(t * m + i);
            node_error = std::max(node_error, std::abs(x[at] - nodes[at]) / norm);
            sum += w[at] * x[at] * x[at];
            other_sum += weights[at] * nodes[at] * nodes[at];
        }
        weight_error = std::max(weight_error, std::abs(sum - other_sum) / (norm * norm));
        expect(failed[t] == 0, "a quadrature did not converge");
    }
    char text[100];
    std::snprintf(text, sizeof text, "quadrature of %lld x %lld: nodes off by %.1e, second moments by %.1e", count, m,
                  node_error, weight_error);
    expect(node_error < 2e-14 && weight_error < 2e-14, text);
    for (double* memory : {a, b, x, w, workspace}) Device::get().release(memory);
    Device::get().release(failed);
}

}  // namespace

int main(int count, char** arguments) {
    using cuda::Basis;
    Device::get().settings.seed = static_cast<unsigned>(std::atoi(arguments[1]));
    if (count > 2) emulation::fault = std::atoi(arguments[2]);
    try {
        check({37, 12});
        check({1009, 60, Basis::float64, 64, 40 * 1024});  // past the registers' and shared memory's limits
        check({1013, 24, Basis::float32, 128, 48 * 1024, 2});
        check({601, 45, Basis::float32, 64, 24 * 1024});
        check({517, 30, Basis::none, 128, 48 * 1024});
        check({1501, 14, Basis::float64, 256, 64 * 1024, 2});
        check({333, 15, Basis::float64, 64, 40 * 1024, 3, 5});  // a batch
        check({333, 15, Basis::float32, 64, 40 * 1024, 2, 3, false});
        check({401, 12, Basis::float64, 64, 40 * 1024, 3, 1, false});
        check({301, 10, Basis::float64, 64, 40 * 1024, 3, 1, true, 1e290});
        check({301, 10, Basis::float64, 64, 40 * 1024, 3, 2, true, 1e-290});
        check({301, 10, Basis::none, 64, 40 * 1024, 3, 1, true, 1e290});
        check({257, 20, Basis::float64, 64, 40 * 1024, 3, 2, true, 1.0, 7});  // an invariant subspace
        check({257, 20, Basis::float32, 64, 40 * 1024, 3, 1, true, 1.0, 7});
        check({5, 9});  // more steps than dimensions
        check({1, 1});
        check({701, 40, Basis::float32, 64, 40 * 1024, 3, 2, true, 1.0, 0, 1e9});  // corrected again
        check({701, 40, Basis::float32, 64, 40 * 1024, 3, 1, false, 1.0, 0, 1e9});
        check_not_finite();
        const Case alone{333, 15};
        const Vector expected = bits(alone, 1);
        expect(bits(alone, 2) == expected, "the bits depend on the order of threads");
        expect(bits({333, 15, Basis::float64, 64, 40 * 1024, 3, 4}, 1) == expected, "the bits depend on the batch");
        expect(bits({333, 15, Basis::float64, 64, 40 * 1024, 3, 1, false}, 1) == expected,
               "the bits depend on the launch");
        check_quadrature(70, 9);
        check_quadrature(3, 41);
        check_quadrature(2, 1);
        const double fits = traffic({1003, 30, Basis::float64, 64, 64 * 1024}, 24);
        expect(fits > 0.99 && fits < 1.05, "V is read " + std::to_string(fits) + " times, though a tile fits");
        const double narrow = traffic({1003, 30, Basis::float32, 64, 64 * 1024}, 24);
        expect(narrow > 0.9 && narrow < 1.05, "float32 rows are read " + std::to_string(narrow) + " times");
        const double large = traffic({1003, 60, Basis::float64, 64, 32 * 1024}, 56);
        expect(large > 1.05 && large < 2.05, "V is read " + std::to_string(large) + " times where no tile fits");
    } catch (const std::exception& error) {
        expect(false, error.what());
    }
    return std::min(failures, 100);
}
