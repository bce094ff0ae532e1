// Tile kernels for one instruction set: included by kernels.hpp with FASTLANCZOS_ISA (a namespace), FASTLANCZOS_TARGET
// (a function attribute) and FASTLANCZOS_ROWS (basis rows held in registers at a time) defined; undefines them.
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
FASTLANCZOS_INLINE void load(const float* p, Lanes& x) {
    x = __builtin_convertvector(*reinterpret_cast<const UnalignedFloatLanes*>(p), Lanes);
}
FASTLANCZOS_INLINE void store(double* p, const Lanes& x) { *reinterpret_cast<UnalignedLanes*>(p) = x; }
FASTLANCZOS_INLINE void raise_to_magnitude(Lanes& max, const Lanes& x) {
    const Lanes magnitude = x < 0 ? -x : x;
    max = magnitude > max ? magnitude : max;
}
#else  // the same eight lanes for compilers without vector types
struct Lanes {
    double lane[kLanes];
    double operator[](Index i) const { return lane[i]; }
    Lanes& operator+=(const Lanes& o) {
        for (Index i = 0; i < kLanes; ++i) lane[i] += o.lane[i];
        return *this;
    }
    Lanes& operator-=(const Lanes& o) {
        for (Index i = 0; i < kLanes; ++i) lane[i] -= o.lane[i];
        return *this;
    }
};
inline Lanes operator*(const Lanes& a, const Lanes& b) {
    Lanes c;
    for (Index i = 0; i < kLanes; ++i) c.lane[i] = a.lane[i] * b.lane[i];
    return c;
}
inline Lanes operator*(double s, const Lanes& a) {
    Lanes c;
    for (Index i = 0; i < kLanes; ++i) c.lane[i] = s * a.lane[i];
    return c;
}
template <class Real>
inline void load(const Real* p, Lanes& x) {
    for (Index i = 0; i < kLanes; ++i) x.lane[i] = p[i];
}
inline void store(double* p, const Lanes& x) {
    for (Index i = 0; i < kLanes; ++i) p[i] = x.lane[i];
}
inline void raise_to_magnitude(Lanes& max, const Lanes& x) {
    for (Index i = 0; i < kLanes; ++i) {
        const double magnitude = x.lane[i] < 0 ? -x.lane[i] : x.lane[i];
        if (magnitude > max.lane[i]) max.lane[i] = magnitude;
    }
}
#endif

FASTLANCZOS_INLINE double sum(const Lanes& x) {
    return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
}

FASTLANCZOS_TARGET inline void inspect(const double* u, const double* z, double factor, Index length,
                                       Inspection& sums) {
    Lanes dot{}, max{}, poison{};
    Index i = 0;
    for (; i + kLanes <= length; i += kLanes) {
        Lanes ui, zi;
        load(u + i, ui);
        load(z + i, zi);
        dot += ui * (factor * zi);
        poison += 0.0 * zi;  // 0 * inf and 0 * NaN are NaN, and a NaN never leaves a sum
        raise_to_magnitude(max, zi);
    }
    double tail = 0.0;
    for (; i < length; ++i) {
        tail += u[i] * (factor * z[i]);
        sums.poison += 0.0 * z[i];
        const double magnitude = z[i] < 0 ? -z[i] : z[i];
        if (magnitude > sums.max) sums.max = magnitude;
    }
    sums.dot += sum(dot) + tail;
    sums.poison += sum(poison);
    for (Index lane = 0; lane < kLanes; ++lane)
        if (max[lane] > sums.max) sums.max = max[lane];
}

// v -= sum_r h_r row_r, w -= sum_r d_r row_r for R rows at a time
template <int R, class Row>
FASTLANCZOS_INLINE void subtract_rows(const Row* row, Index stride, const double* h, const double* d, double* v,
                                      double* w, Index length) {
    Index i = 0;
    for (; i + kLanes <= length; i += kLanes) {
        Lanes vi, wi;
        load(v + i, vi);
        load(w + i, wi);
        for (int r = 0; r < R; ++r) {
            Lanes x;
            load(row + r * stride + i, x);
            vi -= h[r] * x;
            wi -= d[r] * x;
        }
        store(v + i, vi);
        store(w + i, wi);
    }
    for (; i < length; ++i)
        for (int r = 0; r < R; ++r) {
            const double x = row[r * stride + i];
            v[i] -= h[r] * x;
            w[i] -= d[r] * x;
        }
}

// dots_r += row_r . w for R rows at a time; asks for the next tile of the same rows meanwhile
template <int R, class Row>
FASTLANCZOS_INLINE void dot_rows(const Row* row, Index stride, const double* w, Index length, double* dots) {
    Lanes sums[R] = {};
    double tail[R] = {};
    Index i = 0;
    for (; i + kLanes <= length; i += kLanes) {
        Lanes wi;
        load(w + i, wi);
        for (int r = 0; r < R; ++r) {
            Lanes x;
            load(row + r * stride + i, x);
            sums[r] += x * wi;
            FASTLANCZOS_PREFETCH(row + r * stride + i + length);
        }
    }
    for (; i < length; ++i)
        for (int r = 0; r < R; ++r) tail[r] += row[r * stride + i] * w[i];
    for (int r = 0; r < R; ++r) dots[r] += sum(sums[r]) + tail[r];
}

template <class Row>
FASTLANCZOS_TARGET inline void sweep_tile(const Sweep<Row>& s, Index first, Index length, double* dots) {
    alignas(64) double v[kMaxTile];
    alignas(64) double w[kMaxTile];
    for (Index i = 0; i < length; ++i) {
        v[i] = s.u[first + i];
        w[i] = s.z_factor * s.z[first + i];
    }

    constexpr Index R = FASTLANCZOS_ROWS;
    const Row* rows = s.stored > 0 ? s.rows + first : nullptr;
    Index j = 0;
    for (; j + R <= s.stored; j += R) subtract_rows<R>(rows + j * s.stride, s.stride, s.h + j, s.d + j, v, w, length);
    for (; j < s.stored; ++j) subtract_rows<1>(rows + j * s.stride, 0, s.h + j, s.d + j, v, w, length);
    for (Index r = 0; r < s.num_recent; ++r, ++j)
        subtract_rows<1>(s.recent[r] + first, 0, s.h + j, s.d + j, v, w, length);
    for (Index i = 0; i < length; ++i) {
        v[i] *= s.inverse_nu;
        w[i] -= s.gamma * v[i];
    }

    for (j = 0; j + R <= s.stored; j += R) dot_rows<R>(rows + j * s.stride, s.stride, w, length, dots + j);
    for (; j < s.stored; ++j) dot_rows<1>(rows + j * s.stride, 0, w, length, dots + j);
    for (Index r = 0; r < s.num_recent; ++r, ++j) dot_rows<1>(s.recent[r] + first, 0, w, length, dots + j);
    dot_rows<1>(v, 0, w, length, dots + j);
    dot_rows<1>(w, 0, w, length, dots + j + 1);

    for (Index i = 0; i < length; ++i) s.u[first + i] = w[i];
    if (s.new_row)
        for (Index i = 0; i < length; ++i) s.new_row[first + i] = static_cast<Row>(v[i]);
    if (s.new_recent)
        for (Index i = 0; i < length; ++i) s.new_recent[first + i] = v[i];
}

#define FASTLANCZOS_NAME_OF(isa) #isa
#define FASTLANCZOS_NAME(isa) FASTLANCZOS_NAME_OF(isa)
inline Kernels kernels() {
    return {FASTLANCZOS_NAME(FASTLANCZOS_ISA), &inspect, &sweep_tile<double>, &sweep_tile<float>};
}
#undef FASTLANCZOS_NAME
#undef FASTLANCZOS_NAME_OF

}  // namespace FASTLANCZOS_ISA

#undef FASTLANCZOS_INLINE
#undef FASTLANCZOS_PREFETCH
#undef FASTLANCZOS_ISA
#undef FASTLANCZOS_TARGET
#undef FASTLANCZOS_ROWS
