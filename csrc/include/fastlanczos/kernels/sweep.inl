// The arithmetic of a step on one tile of columns, for one instruction set: included by instruction_set.inl.

FASTLANCZOS_TARGET inline void inspect(const double* u, const double* z, double factor, Index length,
                                       Inspection& sums) {
    Pack dot{}, max{}, poison{};
    Index i = 0;
    for (; i + kWidth <= length; i += kWidth) {
        Pack ui, zi, size;
        load(u + i, ui);
        load(z + i, zi);
        dot += ui * (factor * zi);
        poison += 0.0 * zi;  // 0 * inf and 0 * NaN are NaN, and a NaN never leaves a sum
        magnitude(zi, size);
        choose(size > max, size, max, max);
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
    for (Index lane = 0; lane < kWidth; ++lane)
        if (max[lane] > sums.max) sums.max = max[lane];
}

// What a tile of v and w is made of while rows go in. Of complex vectors the sums with imaginary coefficients stand
// apart, in v_turned and w_turned, and are turned once all rows have gone in.
struct TileSums {
    double *v, *w, *v_turned, *w_turned;
};

// v -= sum_r h_r row_r, w -= sum_r d_r row_r for R rows at a time
template <int R, bool Complex, class Row, class Stored>
FASTLANCZOS_INLINE void subtract_rows(const Stored* row, const Sweep<Row>& s, Index stride, Index j,
                                      const TileSums& tile, Index length) {
    Pack hs[R], ds[R], his[R], dis[R];
    for (int r = 0; r < R; ++r) {
        fill(s.h[j + r], hs[r]);
        fill(s.d[j + r], ds[r]);
        if (Complex) fill(s.h_imaginary[j + r], his[r]);
        if (Complex) fill(s.d_imaginary[j + r], dis[r]);
    }
    Index i = 0;
    for (; i + kWidth <= length; i += kWidth) {
        Pack vi, wi, vt, wt, x;
        load(tile.v + i, vi);
        load(tile.w + i, wi);
        if (Complex) load(tile.v_turned + i, vt);
        if (Complex) load(tile.w_turned + i, wt);
        for (int r = 0; r < R; ++r) {
            load(row + r * stride + i, x);
            vi -= hs[r] * x;
            wi -= ds[r] * x;
            if (Complex) vt -= his[r] * x;
            if (Complex) wt -= dis[r] * x;
        }
        store(tile.v + i, vi);
        store(tile.w + i, wi);
        if (Complex) store(tile.v_turned + i, vt);
        if (Complex) store(tile.w_turned + i, wt);
    }
    for (; i < length; ++i)
        for (int r = 0; r < R; ++r) {
            const double x = row[r * stride + i];
            tile.v[i] -= s.h[j + r] * x;
            tile.w[i] -= s.d[j + r] * x;
            if (Complex) tile.v_turned[i] -= s.h_imaginary[j + r] * x;
            if (Complex) tile.w_turned[i] -= s.d_imaginary[j + r] * x;
        }
}

// dots_r += row_r . w for R rows at a time, of complex vectors those with -i w to `imaginary`; asks for the next tile
// of the same rows meanwhile
template <int R, bool Complex = false, class Row>
FASTLANCZOS_INLINE void dot_rows(const Row* row, Index stride, const double* w, Index length, double* dots,
                                 const double* w_turned = nullptr, double* imaginary = nullptr) {
    constexpr Index kLine = 64 / sizeof(Row);  // entries in a cache line
    Pack sums[R] = {}, turned[R] = {};
    double tail[R] = {}, tail_turned[R] = {};
    Index i = 0;
    for (; i + kWidth <= length; i += kWidth) {
        Pack wi, wt, x;
        load(w + i, wi);
        if (Complex) load(w_turned + i, wt);
        for (int r = 0; r < R; ++r) {
            load(row + r * stride + i, x);
            sums[r] += x * wi;
            if (Complex) turned[r] += x * wt;
            if (i % kLine == 0) FASTLANCZOS_PREFETCH(row + r * stride + i + length);
        }
    }
    for (; i < length; ++i)
        for (int r = 0; r < R; ++r) {
            tail[r] += row[r * stride + i] * w[i];
            if (Complex) tail_turned[r] += row[r * stride + i] * w_turned[i];
        }
    for (int r = 0; r < R; ++r) {
        dots[r] += sum(sums[r]) + tail[r];
        if (Complex) imaginary[r] += sum(turned[r]) + tail_turned[r];
    }
}

// x += i y, for complex numbers in pairs
FASTLANCZOS_INLINE void add_turned(const double* y, double* x, Index length) {
    for (Index i = 0; i < length; i += 2) {
        x[i] -= y[i + 1];
        x[i + 1] += y[i];
    }
}

// y = -i x: the real dot product with it is the imaginary part of the complex one with x
FASTLANCZOS_INLINE void turn_back(const double* x, double* y, Index length) {
    for (Index i = 0; i < length; i += 2) {
        y[i] = x[i + 1];
        y[i + 1] = -x[i];
    }
}

// A sweep where no basis is kept, the three-term recurrence: v = u, w = z_factor z - d r - gamma u with r the row
// before (none in the first step). It takes one pass, where tiles of a basis go through the cache several times. Its
// coefficients are real, of complex vectors too.
template <bool Before, bool Complex>
FASTLANCZOS_INLINE void recur(const Sweep<double>& s, Index first, Index length, double* dots) {
    const double *u = s.u + first, *z = s.z + first, *r = Before ? s.recent[0] + first : nullptr;
    double* w = s.w + first;
    const double d = Before ? s.d[0] : 0.0;
    Pack with_r{}, with_u{}, with_w{}, r_crossed{}, u_crossed{}, ds, gammas, factors;
    fill(d, ds);
    fill(s.gamma, gammas);
    fill(s.z_factor, factors);
    Index i = 0;
    for (; i + kWidth <= length; i += kWidth) {
        Pack ui, wi, ri{}, swapped;
        load(u + i, ui);
        load(z + i, wi);
        wi = factors * wi;
        if (Before) {
            load(r + i, ri);
            wi -= ds * ri;
        }
        wi -= gammas * ui;
        if (Before) with_r += ri * wi;
        with_u += ui * wi;
        with_w += wi * wi;
        if (Complex) {
            swap_pairs(wi, swapped);
            if (Before) r_crossed += ri * swapped;
            u_crossed += ui * swapped;
        }
        store(w + i, wi);
    }
    double tail[3] = {}, crossed[2] = {};
    for (; i < length; i += 1 + Complex) {
        double ri[2] = {}, wi[2] = {};
        for (int e = 0; e <= Complex; ++e) {
            wi[e] = s.z_factor * z[i + e];
            if (Before) ri[e] = r[i + e];
            if (Before) wi[e] -= d * ri[e];
            wi[e] -= s.gamma * u[i + e];
            if (Before) tail[0] += ri[e] * wi[e];
            tail[1] += u[i + e] * wi[e];
            tail[2] += wi[e] * wi[e];
        }
        if (Complex) {
            if (Before) crossed[0] += ri[0] * wi[1] - ri[1] * wi[0];
            crossed[1] += u[i] * wi[1] - u[i + 1] * wi[0];
        }
        for (int e = 0; e <= Complex; ++e) w[i + e] = wi[e];
    }
    if (Before) dots[0] += sum(with_r) + tail[0];
    dots[Before] += sum(with_u) + tail[1];
    dots[Before + 1] += sum(with_w) + tail[2];
    if (!Complex) return;
    double* imaginary = dots + s.num_dots();
    if (Before) imaginary[0] += alternating_sum(r_crossed) + crossed[0];
    imaginary[Before] += alternating_sum(u_crossed) + crossed[1];
}

template <bool Complex, class Row>
FASTLANCZOS_INLINE void sweep_rows(const Sweep<Row>& s, Index first, Index length, double* dots) {
    alignas(64) double v[kMaxTile];
    alignas(64) double w[kMaxTile];
    alignas(64) double v_turned[Complex ? kMaxTile : 8];
    alignas(64) double w_turned[Complex ? kMaxTile : 8];
    for (Index i = 0; i < length; ++i) {
        v[i] = s.u[first + i];
        w[i] = s.z_factor * s.z[first + i];
        if (Complex) v_turned[i] = w_turned[i] = 0.0;
    }

    const TileSums tile{v, w, v_turned, w_turned};
    constexpr Index R = FASTLANCZOS_ROWS;
    const Row* rows = s.stored > 0 ? s.rows + first : nullptr;
    Index j = 0;
    for (; j + R <= s.stored; j += R) subtract_rows<R, Complex>(rows + j * s.stride, s, s.stride, j, tile, length);
    for (; j < s.stored; ++j) subtract_rows<1, Complex>(rows + j * s.stride, s, 0, j, tile, length);
    for (Index r = 0; r < s.num_recent; ++r, ++j) subtract_rows<1, Complex>(s.recent[r] + first, s, 0, j, tile, length);
    if (Complex) {
        add_turned(v_turned, v, length);
        for (Index i = 0; i < length; ++i) w_turned[i] -= s.gamma_imaginary * s.inverse_nu * v[i];
        add_turned(w_turned, w, length);
    }
    for (Index i = 0; i < length; ++i) {
        v[i] *= s.inverse_nu;
        w[i] -= s.gamma * v[i];
    }
    if (Complex) turn_back(w, w_turned, length);

    double* imaginary = dots + s.num_dots();
    for (j = 0; j + R <= s.stored; j += R)
        dot_rows<R, Complex>(rows + j * s.stride, s.stride, w, length, dots + j, w_turned, imaginary + j);
    for (; j < s.stored; ++j)
        dot_rows<1, Complex>(rows + j * s.stride, 0, w, length, dots + j, w_turned, imaginary + j);
    for (Index r = 0; r < s.num_recent; ++r, ++j)
        dot_rows<1, Complex>(s.recent[r] + first, 0, w, length, dots + j, w_turned, imaginary + j);
    dot_rows<1, Complex>(v, 0, w, length, dots + j, w_turned, imaginary + j);
    dot_rows<1>(w, 0, w, length, dots + j + 1);

    for (Index i = 0; i < length; ++i) s.w[first + i] = w[i];
    if (s.new_row)
        for (Index i = 0; i < length; ++i) s.new_row[first + i] = static_cast<Row>(v[i]);
    if (s.new_recent)
        for (Index i = 0; i < length; ++i) s.new_recent[first + i] = v[i];
}

template <class Row>
FASTLANCZOS_TARGET inline void sweep_tile(const Sweep<Row>& s, Index first, Index length, double* dots) {
    if constexpr (sizeof(Row) == sizeof(double))
        if (s.is_recurrence) {
            if (s.is_complex)
                return s.num_recent > 0 ? recur<true, true>(s, first, length, dots)
                                        : recur<false, true>(s, first, length, dots);
            return s.num_recent > 0 ? recur<true, false>(s, first, length, dots)
                                    : recur<false, false>(s, first, length, dots);
        }
    s.is_complex ? sweep_rows<true>(s, first, length, dots) : sweep_rows<false>(s, first, length, dots);
}
