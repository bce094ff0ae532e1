// The kernels on the emulated device against the CPU engine: prints what disagrees, and returns how many things did.
//
//     check_kernels SEED [FAULT [first]]    every case, with thread orders drawn from SEED, and one fault of the
//     headers
//                                           on; to the first thing that disagrees, if so said
#include "check_restart.hpp"
#include "check_vectors.hpp"
#include "fastlanczos/cuda/tridiagonal.cuh"
#include "fastlanczos/tridiagonal.hpp"

namespace {

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

// What one step with so many rows costs: bytes read of V over rows * columns * itemsize, and barriers of all blocks.
struct Cost {
    double reads;
    std::size_t barriers;
};

Cost cost(const Case& c, Index rows) {
    cuda::Batch batch = device_for(c);
    DeviceRun run(c, normal(c.dim, 1), normal(c.dim, 2));
    batch.runs[0] = run.run;
    for (Index k = 0; k < rows; ++k) {
        run.multiply();
        cuda::launch_step(batch, c.basis, c.threads, true, nullptr);
    }
    run.multiply();
    Device::get().bytes_read(run.run.basis) = 0;
    const std::size_t before = Device::get().barriers;
    cuda::launch_step(batch, c.basis, c.threads, true, nullptr);
    const double itemsize = c.basis == cuda::Basis::float32 ? 4.0 : 8.0;
    return {
        static_cast<double>(Device::get().bytes_read(run.run.basis)) / (static_cast<double>(rows * c.dim) * itemsize),
        Device::get().barriers - before};
}

// Barriers of a block for each further tile.
double barriers_of_a_tile(Case c, Index rows) {
    const Index itemsize = c.basis == cuda::Basis::float32 ? 4 : 8;
    const Index width =
        cuda::choose_tile(rows, itemsize, c.threads, static_cast<Index>(c.shared_bytes), c.stages).width;
    const Index tiles = c.multiprocessors * 32;  // so that all blocks inspect
    c.dim = width * tiles;
    const std::size_t few = cost(c, rows).barriers;
    c.dim *= 2;
    return static_cast<double>(cost(c, rows).barriers - few) / static_cast<double>(tiles);
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
    first_only = count > 3;
    try {
        std::vector<Case> cases = {
            {37, 12},
            {1009, 60, Basis::float64, 64, 40 * 1024},  // past the registers' and shared memory's limits
            {1013, 24, Basis::float32, 128, 48 * 1024, 2},
            {601, 45, Basis::float32, 64, 24 * 1024},
            {517, 30, Basis::none, 128, 48 * 1024},
            {1501, 14, Basis::float64, 256, 64 * 1024, 2},
            {333, 15, Basis::float64, 64, 40 * 1024, 3, 5},  // a batch
            {333, 15, Basis::float32, 64, 40 * 1024, 2, 3, false},
            {401, 12, Basis::float64, 64, 40 * 1024, 3, 1, false},
            {301, 10, Basis::float64, 64, 40 * 1024, 3, 1, true, 1e290},
            {301, 10, Basis::float64, 64, 40 * 1024, 3, 2, true, 1e-290},
            {301, 10, Basis::none, 64, 40 * 1024, 3, 1, true, 1e290},
            {257, 20, Basis::float64, 64, 40 * 1024, 3, 2, true, 1.0, 7},  // an invariant subspace
            {257, 20, Basis::float32, 64, 40 * 1024, 3, 1, true, 1.0, 7},
            {5, 9},  // more steps than dimensions
            {1, 1},
            {701, 40, Basis::float32, 64, 40 * 1024, 3, 2, true, 1.0, 0, 1e9},  // corrected again
            {701, 40, Basis::float32, 64, 40 * 1024, 3, 1, false, 1.0, 0, 1e9},
            {703, 40, Basis::float64, 64, 96 * 1024, 2},   // a ring of six tiles at first, and of fewer
            {900, 140, Basis::float64, 64, 80 * 1024, 2},  // tiles of 16 columns
            {900, 140, Basis::float32, 64, 64 * 1024, 2},
            {1200, 70, Basis::float64, 32, 64 * 1024, 2},  // more rows than a ring's warps have sums for
        };
        const Index far = Index{1} << 29;  // rows whose offsets do not fit into 32 bits
        cases.push_back({101, 11, Basis::float64, 64, 40 * 1024, 2});
        cases.push_back({103, 11, Basis::float32, 64, 40 * 1024, 2});
        for (auto c = cases.end() - 2; c != cases.end(); ++c) c->stride = far;
        for (Case c : cases)
            for (int stages : {2, 3, cuda::kMaxStages}) {
                if (stages == 3 && c.runs == 1) continue;  // the ring's other lengths: where it is cheap
                c.stages = stages;
                check(c);
            }
        check_not_finite();
        check_restart({401, 14}, 5);
        check_restart({403, 20, Basis::float64, 64, 30 * 1024}, 11);
        check_restart({403, 28, Basis::float64, 128, 26 * 1024}, 9);  // several threads to a column
        check_restart({203, 12, Basis::float32}, 4);
        Case far_apart{201, 11};
        far_apart.stride = far;
        check_restart(far_apart, 7);
        check_restart({205, 12, Basis::float32, 64, 40 * 1024, 2, 1, true, 1.0, 0, 0.0, 2}, 1);
        check_renewal({257, 20, Basis::float64, 64, 40 * 1024, 3, 1, true, 1.0, 7});
        check_renewal({257, 20, Basis::float32, 64, 40 * 1024, 3, 1, true, 1.0, 7});
        check_vectors(1000, 7);
        check_complex(1000, 7);
        const Case alone{333, 15};
        const Vector expected = bits(alone, 1);
        expect(bits(alone, 2) == expected, "the bits depend on the order of threads");
        expect(bits({333, 15, Basis::float64, 64, 40 * 1024, 3, 4}, 1) == expected, "the bits depend on the batch");
        expect(bits({333, 15, Basis::float64, 64, 40 * 1024, 3, 1, false}, 1) == expected,
               "the bits depend on the launch");
        check_quadrature(70, 9);
        check_quadrature(3, 41);
        check_quadrature(2, 1);
        for (int stages : {2, cuda::kMaxStages}) {
            Case c{1003, 30, Basis::float64, 64, 64 * 1024};
            c.stages = stages;
            const double fits = cost(c, 24).reads;
            expect(fits > 0.99 && fits < 1.05, "V is read " + std::to_string(fits) + " times, though a tile fits");
            const double each = barriers_of_a_tile(c, 24);
            expect(each == (stages == 2 ? 4.0 : 2.0), std::to_string(each) + " barriers a tile");
            c.basis = Basis::float32;
            const double narrow = cost(c, 24).reads;
            expect(narrow > 0.9 && narrow < 1.05, "float32 rows are read " + std::to_string(narrow) + " times");
        }
        const double large = cost({1003, 60, Basis::float64, 64, 32 * 1024}, 56).reads;
        expect(large > 1.05 && large < 2.05, "V is read " + std::to_string(large) + " times where no tile fits");
    } catch (const std::exception& error) {
        expect(false, error.what());
    }
    return std::min(failures, 100);
}
