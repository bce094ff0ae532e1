// The step and the quadrature as handlers that XLA calls from a compiled program (JAX). A run's memory is XLA's: the
// basis, the candidate and the scalars come in and go out in the same buffers.
#pragma once

#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "../third_party/xla/ffi_c_api.h"
#include "fastlanczos/step.hpp"
#include "fastlanczos/tridiagonal.hpp"

namespace fastlanczos {
namespace xla {

// A run's scalars as float64 numbers, in this order; then alpha (m), beta (m), h (m).
enum Scalar : Index { kSteps, kSweeps, kExponent, kBreakdown, kScale, kMaxProjection, kNotFinite, kScalars };

inline Index scalars_of(Index m) { return kScalars + 3 * m; }

inline XLA_FFI_Error* error(const XLA_FFI_CallFrame* frame, const std::string& message) {
    XLA_FFI_Error_Create_Args args{};
    args.struct_size = XLA_FFI_Error_Create_Args_STRUCT_SIZE;
    args.message = message.c_str();
    args.errc = XLA_FFI_Error_Code_INVALID_ARGUMENT;
    return frame->api->XLA_FFI_Error_Create(&args);
}

// True, and answered, where XLA asks which version of its interface this was compiled for.
inline bool told_version(XLA_FFI_CallFrame* frame) {
    XLA_FFI_Extension_Base* extension = frame->extension_start;
    if (!extension || extension->type != XLA_FFI_Extension_Metadata) return false;
    XLA_FFI_Metadata* metadata = reinterpret_cast<XLA_FFI_Metadata_Extension*>(extension)->metadata;
    metadata->api_version.major_version = XLA_FFI_API_MAJOR;
    metadata->api_version.minor_version = XLA_FFI_API_MINOR;
    metadata->traits = 0;
    return true;
}

inline const XLA_FFI_Buffer& argument(const XLA_FFI_CallFrame* frame, Index i) {
    return *static_cast<const XLA_FFI_Buffer*>(frame->args.args[i]);
}

inline const XLA_FFI_Buffer& result(const XLA_FFI_CallFrame* frame, Index i) {
    return *static_cast<const XLA_FFI_Buffer*>(frame->rets.rets[i]);
}

inline Index entries(const XLA_FFI_Buffer& buffer) {
    Index product = 1;
    for (int64_t i = 0; i < buffer.rank; ++i) product *= buffer.dims[i];
    return product;
}

inline Index last(const XLA_FFI_Buffer& buffer) { return buffer.rank > 0 ? buffer.dims[buffer.rank - 1] : 1; }

inline std::size_t bytes(const XLA_FFI_Buffer& buffer) {
    return static_cast<std::size_t>(entries(buffer)) * (buffer.dtype == XLA_FFI_DataType_F32 ? 4 : 8);
}

inline double* numbers(const XLA_FFI_Buffer& buffer) { return static_cast<double*>(buffer.data); }

inline State unpacked(const double* scalars, Index m, Basis basis) {
    State state;
    state.steps = static_cast<Index>(scalars[kSteps]);
    state.sweeps = static_cast<Index>(scalars[kSweeps]);
    state.exponent = static_cast<int>(scalars[kExponent]);
    state.breakdown = scalars[kBreakdown] != 0.0;
    state.scale = scalars[kScale];
    state.max_projection = scalars[kMaxProjection];
    const double* alpha = scalars + kScalars;
    const Index kept = state.breakdown ? 0 : basis == Basis::none ? std::min<Index>(state.steps, 2) : state.steps;
    state.alpha.assign(alpha, alpha + state.steps);
    state.beta.assign(alpha + m, alpha + m + state.steps);
    state.h.assign(alpha + 2 * m, alpha + 2 * m + kept);
    return state;
}

inline void pack(const State& state, double* scalars, Index m) {
    scalars[kSteps] = static_cast<double>(state.steps);
    scalars[kSweeps] = static_cast<double>(state.sweeps);
    scalars[kExponent] = state.exponent;
    scalars[kBreakdown] = state.breakdown ? 1.0 : 0.0;
    scalars[kScale] = state.scale;
    scalars[kMaxProjection] = state.max_projection;
    double* alpha = scalars + kScalars;
    std::copy(state.alpha.begin(), state.alpha.end(), alpha);
    std::copy(state.beta.begin(), state.beta.end(), alpha + m);
    std::copy(state.h.begin(), state.h.end(), alpha + 2 * m);
}

// Arguments and results: basis (..., rows, n), candidate (..., n), recent (..., r), scalars (..., 7 + 3 m); then, as an
// argument only, what the step takes. Without a basis there are no rows.
struct Buffers {
    explicit Buffers(const XLA_FFI_CallFrame* frame) {
        for (Index i = 0; i < 4; ++i) {
            const XLA_FFI_Buffer &in = argument(frame, i), &out = result(frame, i);
            if (in.data != out.data && bytes(in) > 0) std::memcpy(out.data, in.data, bytes(in));  // not aliased
        }
        basis = &result(frame, 0), candidate = &result(frame, 1), recent = &result(frame, 2),
        scalars = &result(frame, 3);
        n = last(*candidate), m = (last(*scalars) - kScalars) / 3, width = last(*recent);
        runs = n > 0 ? entries(*candidate) / n : 0;
        rows = runs * n > 0 ? entries(*basis) / (runs * n) : 0;
        kind = rows == 0 ? Basis::none : basis->dtype == XLA_FFI_DataType_F32 ? Basis::float32 : Basis::float64;
    }

    Memory memory(Index run) const {
        const std::size_t item = basis->dtype == XLA_FFI_DataType_F32 ? 4 : 8;
        Memory memory;
        memory.basis = static_cast<char*>(basis->data) + static_cast<std::size_t>(run * rows * n) * item;
        memory.stride = n;
        memory.candidate = numbers(*candidate) + run * n;
        memory.recent = numbers(*recent) + run * width;
        return memory;
    }

    double* scalars_of_run(Index run) const { return numbers(*scalars) + run * scalars_of(m); }

    const XLA_FFI_Buffer *basis, *candidate, *recent, *scalars;
    Index n, m, width, runs, rows;
    Basis kind;
};

// What `work(buffers, lanczos, run)` does for every run; XLA's error for what it throws.
template <class Work>
XLA_FFI_Error* for_each_run(XLA_FFI_CallFrame* frame, const Work& work) {
    if (told_version(frame)) return nullptr;
    try {
        const Buffers buffers(frame);
        for (Index run = 0; run < buffers.runs; ++run) {
            Lanczos lanczos(buffers.n, buffers.m, buffers.kind, buffers.memory(run));
            work(buffers, lanczos, run);
        }
    } catch (const std::exception& problem) {
        return error(frame, std::string("fastlanczos: ") + problem.what());
    }
    return nullptr;
}

// A run is begun from its v0. One that is zero or not finite is a breakdown without a step.
inline XLA_FFI_Error* start(XLA_FFI_CallFrame* frame) {
    return for_each_run(frame, [frame](const Buffers& buffers, Lanczos& lanczos, Index run) {
        double* scalars = buffers.scalars_of_run(run);
        std::fill(scalars, scalars + scalars_of(buffers.m), 0.0);
        if (lanczos.start(numbers(argument(frame, 4)) + run * buffers.n)) return;
        scalars[kBreakdown] = scalars[kNotFinite] = 1.0;
    });
}

// A step with a product. A run that is finished stays as it is; a product that is not finite finishes it.
inline XLA_FFI_Error* step(XLA_FFI_CallFrame* frame) {
    return for_each_run(frame, [frame](const Buffers& buffers, Lanczos& lanczos, Index run) {
        double* scalars = buffers.scalars_of_run(run);
        if (scalars[kNotFinite] != 0.0) return;
        lanczos.restore(unpacked(scalars, buffers.m, buffers.kind));
        if (lanczos.finished()) return;
        if (lanczos.step(numbers(argument(frame, 4)) + run * buffers.n) == Outcome::not_finite) {
            scalars[kNotFinite] = 1.0;
            return;
        }
        lanczos.settle();
        pack(lanczos.state(), scalars, buffers.m);
    });
}

// alpha (..., m), beta (..., m - 1) -> nodes, weights (..., m); NaN where an entry is not finite.
inline XLA_FFI_Error* quadrature(XLA_FFI_CallFrame* frame) {
    if (told_version(frame)) return nullptr;
    try {
        const XLA_FFI_Buffer& alpha = argument(frame, 0);
        const Index m = last(alpha), count = m > 0 ? entries(alpha) / m : 0;
        double *nodes = numbers(result(frame, 0)), *weights = numbers(result(frame, 1));
        const double* beta = numbers(argument(frame, 1));
        if (count > 0 && gauss_quadrature(count, m, numbers(alpha), beta, nodes, weights) > 0)
            for (Index i = 0; i < count; ++i) {
                bool good = true;
                for (Index j = 0; j < m; ++j)
                    good = good && std::isfinite(numbers(alpha)[i * m + j]) &&
                           (j + 1 == m || std::isfinite(beta[i * (m - 1) + j]));
                if (!good) std::fill_n(nodes + i * m, m, std::nan("")), std::fill_n(weights + i * m, m, std::nan(""));
            }
    } catch (const std::exception& problem) {
        return error(frame, std::string("fastlanczos: ") + problem.what());
    }
    return nullptr;
}

}  // namespace xla
}  // namespace fastlanczos

extern "C" {

FASTLANCZOS_API XLA_FFI_Error* fastlanczos_xla_start(XLA_FFI_CallFrame* frame) {
    return fastlanczos::xla::start(frame);
}

FASTLANCZOS_API XLA_FFI_Error* fastlanczos_xla_step(XLA_FFI_CallFrame* frame) { return fastlanczos::xla::step(frame); }

FASTLANCZOS_API XLA_FFI_Error* fastlanczos_xla_quadrature(XLA_FFI_CallFrame* frame) {
    return fastlanczos::xla::quadrature(frame);
}

}  // extern "C"
