// What XLA hands to a foreign function, and how it is answered: common to the handlers for the CPU and for a GPU.
#pragma once

#include <cstdint>
#include <string>

#include "../third_party/xla/ffi_c_api.h"
#include "fastlanczos/fastlanczos.h"

namespace fastlanczos {
namespace xla {

using Index = long long;

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

// The dimension that is so many before the last.
inline Index from_last(const XLA_FFI_Buffer& buffer, Index before = 0) {
    return buffer.rank > before ? buffer.dims[buffer.rank - 1 - before] : 1;
}

inline bool is_float32(const XLA_FFI_Buffer& buffer) { return buffer.dtype == XLA_FFI_DataType_F32; }

inline std::size_t bytes(const XLA_FFI_Buffer& buffer) {
    return static_cast<std::size_t>(entries(buffer)) *
           (is_float32(buffer) || buffer.dtype == XLA_FFI_DataType_S32 ? 4 : 8);
}

inline double* numbers(const XLA_FFI_Buffer& buffer) { return static_cast<double*>(buffer.data); }

// Runs that are advanced together: basis (..., rows, stride), candidate (..., n), recent (..., r), state (..., m, w).
// Without a basis there are no rows.
struct Runs {
    // To be read: arguments only.
    explicit Runs(const XLA_FFI_CallFrame* frame)
        : Runs(argument(frame, 0), argument(frame, 1), argument(frame, 2), argument(frame, 3), nullptr) {}

    // To be begun or advanced: arguments and results, and what the call takes as a last argument, (..., n). An argument
    // that XLA has not put where the result is, `copy(to, from, bytes)` brings there.
    template <class Copy>
    Runs(const XLA_FFI_CallFrame* frame, const Copy& copy)
        : Runs(result(frame, 0), result(frame, 1), result(frame, 2), result(frame, 3), numbers(argument(frame, 4))) {
        for (Index i = 0; i < 4; ++i) {
            const XLA_FFI_Buffer &in = argument(frame, i), &out = result(frame, i);
            if (in.data != out.data && bytes(in) > 0) copy(out.data, in.data, bytes(in));
        }
    }

    void* basis_of(Index run) const {
        return rows == 0 ? nullptr : static_cast<char*>(basis) + run * rows * stride * (float32 ? 4 : 8);
    }
    double* candidate_of(Index run) const { return candidate + run * n; }
    double* recent_of(Index run) const { return recent + run * width; }
    double* state_of(Index run) const { return state + run * state_entries; }
    const double* taken_of(Index run) const { return taken + run * n; }

    void* basis;
    double *candidate, *recent, *state, *taken;
    Index count, n, m, rows, stride, width, state_entries;
    bool float32;

private:
    Runs(const XLA_FFI_Buffer& b, const XLA_FFI_Buffer& c, const XLA_FFI_Buffer& r, const XLA_FFI_Buffer& s,
         double* what_is_taken)
        : basis(b.data), candidate(numbers(c)), recent(numbers(r)), state(numbers(s)), taken(what_is_taken) {
        n = from_last(c), m = from_last(s, 1), rows = from_last(b, 1);
        stride = from_last(b), width = from_last(r), state_entries = m * from_last(s);
        count = n > 0 ? entries(c) / n : 0;
        float32 = is_float32(b);
    }
};

}  // namespace xla
}  // namespace fastlanczos
