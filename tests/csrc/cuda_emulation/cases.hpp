// Runs on the emulated device, for the checks of check_kernels.cpp.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <random>

#include "fastlanczos/cuda/restart.cuh"

namespace cuda = fastlanczos::cuda;
using emulation::Device;
using Vector = std::vector<double>;
using cuda::Index;

namespace {

int failures = 0;
bool first_only = false;  // stop at the first thing that disagrees

void expect(bool condition, const std::string& what) {
    if (condition) return;
    ++failures;
    std::printf("%s\n", what.c_str());
    if (first_only) std::exit(1);
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
    int stages = cuda::kMaxStages;
    Index stride = 0;  // of the rows; 0: as small as can be

    std::string name() const {
        const char* names[] = {"none", "float32", "float64"};
        char text[200];
        std::snprintf(text, sizeof text,
                      "n %lld, m %lld, %s, %d threads, %zu KiB, %d stages, %d SMs, %d runs%s, norm %g, %lld: ", dim,
                      steps, names[static_cast<int>(basis)], threads, shared_bytes / 1024, stages, multiprocessors,
                      runs, cooperative ? "" : ", phase by phase", scale, eigenvalues);
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
    batch.stages = c.stages;
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
    std::size_t far_bytes = 0;

    DeviceRun(const Case& c, Vector diagonal, const Vector& v0) : operator_(std::move(diagonal)) {
        const auto n = static_cast<std::size_t>(c.dim);
        run.dim = run.whole_dim = c.dim;
        run.max_steps = std::min(c.dim, c.steps);
        const std::size_t itemsize = c.basis == cuda::Basis::float32 ? 4 : 8;
        const Index piece = static_cast<Index>(16 / itemsize);
        run.stride = (c.dim + piece - 1) / piece * piece;
        if (c.stride > 0) {
            // Rows far apart: only what they are of the memory is there.
            run.stride = c.stride;
            const auto row = static_cast<std::size_t>(c.stride) * itemsize;
            far_bytes = row * static_cast<std::size_t>(run.max_steps);
            run.basis =
                mmap(nullptr, far_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (run.basis == MAP_FAILED) throw std::bad_alloc();
            for (Index r = 0; r < run.max_steps; ++r)
                Device::get().borrow(static_cast<unsigned char*>(run.basis) + static_cast<std::size_t>(r) * row,
                                     (n * itemsize + 15) / 16 * 16);
        } else if (c.basis != cuda::Basis::none) {
            run.basis = on_device<unsigned char>(static_cast<std::size_t>(run.max_steps * run.stride) * itemsize);
        }
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
        if (far_bytes > 0) {
            const std::size_t row = far_bytes / static_cast<std::size_t>(run.max_steps);
            for (Index r = 0; r < run.max_steps; ++r)
                Device::get().release(static_cast<unsigned char*>(run.basis) + static_cast<std::size_t>(r) * row);
            munmap(run.basis, far_bytes);
        }
        for (void* memory : {run.basis, static_cast<void*>(run.candidate), static_cast<void*>(run.vector),
                             static_cast<void*>(run.recent), static_cast<void*>(const_cast<double*>(run.z)),
                             static_cast<void*>(run.coefficients)})
            Device::get().release(memory);
    }
};

}  // namespace
