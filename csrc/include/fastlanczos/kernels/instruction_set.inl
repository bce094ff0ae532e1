// All kernels for one instruction set: included by dispatch.hpp with FASTLANCZOS_ISA (a namespace), FASTLANCZOS_TARGET
// (a function attribute), FASTLANCZOS_WIDTH (float64 entries in a register) and FASTLANCZOS_ROWS (basis rows that are
// used at a time) defined; undefines them.
//
// Two vector types: Pack fills one register; Lanes is always eight wide, for sums whose order all share.
//
// Every function carries the target attribute, the small ones too: a vector operation is lowered for the function that
// spells it, before it is inlined anywhere.
#if defined(__GNUC__)
#define FASTLANCZOS_INLINE FASTLANCZOS_TARGET __attribute__((always_inline)) inline
#define FASTLANCZOS_PREFETCH(address) __builtin_prefetch((address), 0, 2)
#else
#define FASTLANCZOS_INLINE inline
#define FASTLANCZOS_PREFETCH(address) ((void)0)
#endif

namespace FASTLANCZOS_ISA {

#if defined(FASTLANCZOS_VECTOR_TYPES)
FASTLANCZOS_INLINE void load(const double* p, Lanes& x) { x = *reinterpret_cast<const UnalignedLanes*>(p); }
FASTLANCZOS_INLINE void store(double* p, const Lanes& x) { *reinterpret_cast<UnalignedLanes*>(p) = x; }
FASTLANCZOS_INLINE void choose(const Mask& mask, const Lanes& yes, const Lanes& no, Lanes& x) { x = mask ? yes : no; }
FASTLANCZOS_INLINE void magnitude(const Lanes& x, Lanes& y) { y = x < 0 ? -x : x; }
FASTLANCZOS_INLINE double sum(const Lanes& x) {
    return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
}

constexpr Index kWidth = FASTLANCZOS_WIDTH;
typedef double Pack __attribute__((vector_size(8 * FASTLANCZOS_WIDTH)));
typedef long long PackIndices __attribute__((vector_size(8 * FASTLANCZOS_WIDTH)));
typedef PackIndices PackMask;
typedef float UnalignedFloatPack __attribute__((vector_size(4 * FASTLANCZOS_WIDTH), aligned(4), may_alias));
#if FASTLANCZOS_WIDTH < 8
typedef double UnalignedPack __attribute__((vector_size(8 * FASTLANCZOS_WIDTH), aligned(8), may_alias));
FASTLANCZOS_INLINE void load(const double* p, Pack& x) { x = *reinterpret_cast<const UnalignedPack*>(p); }
FASTLANCZOS_INLINE void store(double* p, const Pack& x) { *reinterpret_cast<UnalignedPack*>(p) = x; }
FASTLANCZOS_INLINE void choose(const PackMask& mask, const Pack& yes, const Pack& no, Pack& x) { x = mask ? yes : no; }
FASTLANCZOS_INLINE void magnitude(const Pack& x, Pack& y) { y = x < 0 ? -x : x; }
FASTLANCZOS_INLINE double sum(const Pack& x) {
    double total = 0.0;
    for (Index i = 0; i < kWidth; ++i) total += x[i];
    return total;
}
#endif
// Neighbours change places: 1 0 3 2 and so on.
FASTLANCZOS_INLINE void swap_pairs(const Pack& x, Pack& y) {
#if FASTLANCZOS_WIDTH == 2
    constexpr PackIndices order = {1, 0};
#elif FASTLANCZOS_WIDTH == 4
    constexpr PackIndices order = {1, 0, 3, 2};
#else
    constexpr PackIndices order = {1, 0, 3, 2, 5, 4, 7, 6};
#endif
#if defined(__clang__)
    for (Index i = 0; i < kWidth; ++i) y[i] = x[order[i]];
#else
    y = __builtin_shuffle(x, order);
#endif
}
FASTLANCZOS_INLINE void load(const float* p, Pack& x) {
    x = __builtin_convertvector(*reinterpret_cast<const UnalignedFloatPack*>(p), Pack);
}
FASTLANCZOS_INLINE void fill(double value, Pack& x) { x = value - Pack{}; }
#else
constexpr Index kWidth = kLanes;
using Pack = Lanes;
using PackIndices = LaneIndices;
using PackMask = Mask;
template <class Real>
inline void load(const Real* p, Lanes& x) {
    for (Index i = 0; i < kLanes; ++i) x.lane[i] = p[i];
}
inline void store(double* p, const Lanes& x) {
    for (Index i = 0; i < kLanes; ++i) p[i] = x.lane[i];
}
inline void choose(const Mask& mask, const Lanes& yes, const Lanes& no, Lanes& x) {
    for (Index i = 0; i < kLanes; ++i) x.lane[i] = mask.lane[i] ? yes.lane[i] : no.lane[i];
}
inline void magnitude(const Lanes& x, Lanes& y) {
    for (Index i = 0; i < kLanes; ++i) y.lane[i] = x.lane[i] < 0 ? -x.lane[i] : x.lane[i];
}
inline double sum(const Lanes& x) { return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7])); }
inline void swap_pairs(const Pack& x, Pack& y) {
    for (Index i = 0; i < kLanes; ++i) y.lane[i] = x.lane[i ^ 1];
}
inline void fill(double value, Pack& x) {
    for (Index i = 0; i < kLanes; ++i) x.lane[i] = value;
}
#endif

// Even lanes less odd ones.
FASTLANCZOS_INLINE double alternating_sum(const Pack& x) {
    double total = 0.0;
    for (Index i = 0; i < kWidth; i += 2) total += x[i] - x[i + 1];
    return total;
}

FASTLANCZOS_INLINE void square_root(const Pack& x, Pack& y) {
    double values[kWidth];
    store(values, x);
    for (Index i = 0; i < kWidth; ++i) values[i] = std::sqrt(values[i]);
    load(values, y);
}

#include "dense.inl"
#include "quadrature.inl"
#include "sweep.inl"

#include "rotation.inl"

#define FASTLANCZOS_NAME_OF(isa) #isa
#define FASTLANCZOS_NAME(isa) FASTLANCZOS_NAME_OF(isa)
inline Kernels kernels() {
    return {FASTLANCZOS_NAME(FASTLANCZOS_ISA),
            &inspect,
            &sweep_tile<double>,
            &sweep_tile<float>,
            &multiply_dense<double>,
            &multiply_dense<float>,
            &combine_dense<double>,
            &combine_dense<float>,
            &rotate,
            &find_blocks,
            &ql_sweep};
}
#undef FASTLANCZOS_NAME
#undef FASTLANCZOS_NAME_OF

}  // namespace FASTLANCZOS_ISA

#undef FASTLANCZOS_INLINE
#undef FASTLANCZOS_PREFETCH
#undef FASTLANCZOS_ISA
#undef FASTLANCZOS_TARGET
#undef FASTLANCZOS_WIDTH
#undef FASTLANCZOS_ROWS
