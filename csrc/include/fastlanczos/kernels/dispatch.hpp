// The arithmetic of a Lanczos step on one tile of columns, of dense products, and of the quadrature on eight matrices,
// compiled once per instruction set and chosen at run time.
//
// A tile is a range of columns of every vector and of every basis row. `sweep.inl`, `rotation.inl`,
// `dense.inl` and `quadrature.inl` hold the code; this header includes them once for each instruction set
// (baseline, which is NEON on 64-bit ARM; AVX2 + FMA; AVX-512), so that one portable binary uses what the processor
// has.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <string>

// FASTLANCZOS_PLAIN: plain loops over eight lanes, as for compilers without GNU's vector types.
#if defined(__GNUC__) && !defined(FASTLANCZOS_PLAIN)
#define FASTLANCZOS_VECTOR_TYPES 1
#endif
#if defined(FASTLANCZOS_VECTOR_TYPES) && (defined(__x86_64__) || defined(__i386__))
#define FASTLANCZOS_X86 1
#endif

namespace fastlanczos {

using Index = std::ptrdiff_t;

enum class Field { real, complex };

constexpr Index kLanes = 8;
constexpr Index kMaxTile = 2048;  // columns; a tile's v and w (32 KiB) stay in the first-level cache

// One sweep over the basis: what it reads, what it computes, where it writes. With rows V_j (stored rows first, then
// the recent ones) and the coefficients h, d:
//     v = (u - sum_j h_j V_j) * inverse_nu
//     w = z * z_factor - sum_j d_j V_j - gamma * v
// and the dot products of w with every V_j, with v and with itself.
//
// Complex vectors are stored as pairs of real columns, real part first, and a complex coefficient is two real ones:
// h x = h_r x + h_i J x, where J x = i x turns every pair. The dot products are those of the complex vectors, conj(x)
// w: first all real parts, then all imaginary ones.
template <class Row>
struct Sweep {
    const Row* rows = nullptr;  // stored rows, `stride` apart
    Index stride = 0;
    Index stored = 0;
    const double* recent[2] = {nullptr, nullptr};  // newest rows that are kept in float64 beside the storage
    Index num_recent = 0;
    const double* h = nullptr;  // stored + num_recent coefficients
    const double* d = nullptr;
    double inverse_nu = 1.0;
    double z_factor = 1.0;
    double gamma = 0.0;
    bool is_complex = false;
    const double* h_imaginary = nullptr;  // as h and d
    const double* d_imaginary = nullptr;
    double gamma_imaginary = 0.0;
    const double* u = nullptr;
    const double* z = nullptr;
    double* w = nullptr;           // may be u, or recent[0]
    Row* new_row = nullptr;        // v goes here ...
    double* new_recent = nullptr;  // ... and here, each where given; it may be recent[0]
    bool is_recurrence = false;    // no basis: v = u goes nowhere, and at most one row is recent

    Index num_rows() const { return stored + num_recent; }
    Index num_dots() const { return num_rows() + 2; }  // every row, v, w itself
    Index num_sums() const { return is_complex ? 2 * num_dots() : num_dots(); }
};

// What a product is looked at for before it is used.
struct Inspection {
    double dot = 0.0;     // sum of u_i * z_i * factor
    double max = 0.0;     // largest |z_i| among the finite ones
    double poison = 0.0;  // 0 where all z_i are finite, NaN where one is not

    void add(const Inspection& part) {
        dot += part.dot;
        poison += part.poison;
        max = std::max(max, part.max);
    }
};

struct Kernels {
    const char* instruction_set;
    void (*inspect)(const double* u, const double* z, double factor, Index length, Inspection& sums);
    // One tile of columns; adds to num_sums() sums.
    void (*sweep_float64)(const Sweep<double>& sweep, Index first, Index length, double* dots);
    void (*sweep_float32)(const Sweep<float>& sweep, Index first, Index length, double* dots);
    // Rows first .. end - 1 of a matrix times `count` vectors; see dense.inl.
    void (*dense_float64)(const double* values, Index stride, Index first, Index end, Index n, Index count,
                          const double* const* x, double* const* y);
    void (*dense_float32)(const float* values, Index stride, Index first, Index end, Index n, Index count,
                          const double* const* x, double* const* y);
    // y += sum_i s_i row_i for `count` rows of n entries; see dense.inl.
    void (*combine_float64)(const double* values, Index stride, Index count, Index n, const double* s, double* y);
    void (*combine_float32)(const float* values, Index stride, Index count, Index n, const double* s, double* y);
    // One tile of a restart; see rotation.hpp and rotation.inl.
    void (*rotate)(double* rows, Index stride, Index k, Index l, const double* rotation, const double* h, double* u,
                   Index length, double* tile, double* sums);
    // Eight tridiagonal matrices at once; see quadrature.inl.
    void (*find_blocks)(const double* d, const double* e, const long long* low, const long long* high,
                        long long* first);
    void (*ql_sweep)(double* d, double* e, double* row, const long long* low, const long long* high,
                     const double* shifts);
};

// Squares below this have lost, or may lose, digits to underflow; an entry below its root is nothing beside a norm
// of 1.
constexpr double kSmallSquare = 1e-280;

#if defined(FASTLANCZOS_VECTOR_TYPES)
typedef double Lanes __attribute__((vector_size(64)));
typedef long long LaneIndices __attribute__((vector_size(64)));
typedef LaneIndices Mask;
typedef double UnalignedLanes __attribute__((vector_size(64), aligned(8), may_alias));
#else
#include "plain_lanes.inl"
#endif

#if defined(__aarch64__) && defined(FASTLANCZOS_VECTOR_TYPES)
#define FASTLANCZOS_BASELINE neon
#else
#define FASTLANCZOS_BASELINE baseline
#endif
#define FASTLANCZOS_ISA FASTLANCZOS_BASELINE
#define FASTLANCZOS_TARGET
#define FASTLANCZOS_WIDTH 2
#define FASTLANCZOS_ROWS 2
#include "instruction_set.inl"

#if defined(FASTLANCZOS_X86)
#define FASTLANCZOS_ISA avx2
#define FASTLANCZOS_TARGET __attribute__((target("avx2,fma")))
#define FASTLANCZOS_WIDTH 4
#define FASTLANCZOS_ROWS 4
#include "instruction_set.inl"

#define FASTLANCZOS_ISA avx512
#define FASTLANCZOS_TARGET __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")))
#define FASTLANCZOS_WIDTH 8
#define FASTLANCZOS_ROWS 8
#include "instruction_set.inl"
#endif

// The widest kernels that this processor runs; FASTLANCZOS_ISA=baseline or avx2 in the environment asks for narrower
// ones.
inline const Kernels& kernels() {
    static const Kernels chosen = [] {
#if defined(FASTLANCZOS_X86)
        const char* variable = std::getenv("FASTLANCZOS_ISA");
        const std::string widest = variable ? variable : "";
        __builtin_cpu_init();
        const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
        const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                                __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
        if (widest != "baseline" && has_avx2)
            return widest != "avx2" && has_avx512 ? avx512::kernels() : avx2::kernels();
#endif
        return FASTLANCZOS_BASELINE::kernels();
    }();
    return chosen;
}

}  // namespace fastlanczos
