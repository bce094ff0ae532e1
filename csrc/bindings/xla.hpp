// The step and the quadrature as handlers that XLA calls from a compiled program (JAX) on the CPU. A run's memory is
// XLA's: it comes in and goes out in the same buffers.
#pragma once

#include <cmath>
#include <cstring>
#include <exception>

#include "fastlanczos/flat_run.hpp"
#include "fastlanczos/tridiagonal.hpp"
#include "xla_frame.hpp"

namespace fastlanczos {
namespace xla {

// What `work()` does; XLA's error for what it throws.
template <class Work>
XLA_FFI_Error* answered(XLA_FFI_CallFrame* frame, const Work& work) {
    if (told_version(frame)) return nullptr;
    try {
        work();
    } catch (const std::exception& problem) {
        return error(frame, std::string("fastlanczos: ") + problem.what());
    }
    return nullptr;
}

template <class Work>
XLA_FFI_Error* for_each_run(XLA_FFI_CallFrame* frame, const Work& work) {
    return answered(frame, [&] {
        const Runs runs(frame, [](void* to, const void* from, std::size_t size) { std::memcpy(to, from, size); });
        for (Index r = 0; r < runs.count; ++r) {
            flat::Run run{runs.n, runs.m, Basis::none, {}, runs.state_of(r)};
            if (runs.rows > 0) run.basis = runs.float32 ? Basis::float32 : Basis::float64;
            run.memory.basis = runs.basis_of(r);
            run.memory.stride = runs.stride;
            run.memory.candidate = runs.candidate_of(r);
            run.memory.recent = runs.recent_of(r);
            work(run, runs.taken_of(r));
        }
    });
}

// basis, candidate, recent, state -> numbers (..., entries(m)): see flat::read.
inline XLA_FFI_Error* read(XLA_FFI_CallFrame* frame) {
    return answered(frame, [&] {
        const Runs runs(frame);
        for (Index r = 0; r < runs.count; ++r) {
            const flat::Run run{runs.n, runs.m, Basis::none, {}, runs.state_of(r)};
            flat::read(run, numbers(result(frame, 0)) + r * flat::entries(runs.m));
        }
    });
}

// alpha (..., m), beta (..., m - 1) -> nodes, weights (..., m), a workspace that is for GPUs, failed (...) int32; NaN
// where an entry is not finite.
inline XLA_FFI_Error* quadrature(XLA_FFI_CallFrame* frame) {
    return answered(frame, [&] {
        const XLA_FFI_Buffer& alpha = argument(frame, 0);
        const Index m = from_last(alpha), count = m > 0 ? entries(alpha) / m : 0;
        double *nodes = numbers(result(frame, 0)), *weights = numbers(result(frame, 1));
        const double* beta = numbers(argument(frame, 1));
        auto* failed = static_cast<std::int32_t*>(result(frame, 3).data);
        const bool any = count > 0 && gauss_quadrature(count, m, numbers(alpha), beta, nodes, weights) > 0;
        for (Index i = 0; i < count; ++i) {
            bool good = true;
            for (Index j = 0; any && j < m; ++j)
                good = good && std::isfinite(numbers(alpha)[i * m + j]) &&
                       (j + 1 == m || std::isfinite(beta[i * (m - 1) + j]));
            if (!good) std::fill_n(nodes + i * m, m, std::nan("")), std::fill_n(weights + i * m, m, std::nan(""));
            failed[i] = good ? 0 : 2;
        }
    });
}

}  // namespace xla
}  // namespace fastlanczos

extern "C" {

FASTLANCZOS_API XLA_FFI_Error* fastlanczos_xla_start(XLA_FFI_CallFrame* frame) {
    return fastlanczos::xla::for_each_run(frame, &fastlanczos::flat::begin);
}

FASTLANCZOS_API XLA_FFI_Error* fastlanczos_xla_step(XLA_FFI_CallFrame* frame) {
    return fastlanczos::xla::for_each_run(frame, &fastlanczos::flat::advance);
}

FASTLANCZOS_API XLA_FFI_Error* fastlanczos_xla_read(XLA_FFI_CallFrame* frame) { return fastlanczos::xla::read(frame); }

FASTLANCZOS_API XLA_FFI_Error* fastlanczos_xla_quadrature(XLA_FFI_CallFrame* frame) {
    return fastlanczos::xla::quadrature(frame);
}

}  // extern "C"
