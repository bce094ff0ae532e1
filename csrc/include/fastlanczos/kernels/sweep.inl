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

// v -= sum_r h_r row_r, w -= sum_r d_r row_r for R rows at a time
template <int R, class Row>
FASTLANCZOS_INLINE void subtract_rows(const Row* row, Index stride, const double* h, const double* d, double* v,
                                      double* w, Index length) {
    Pack hs[R], ds[R];
    for (int r = 0; r < R; ++r) {
        fill(h[r], hs[r]);
        fill(d[r], ds[r]);
    }
    Index i = 0;
    for (; i + kWidth <= length; i += kWidth) {
        Pack vi, wi, x;
        load(v + i, vi);
        load(w + i, wi);
        for (int r = 0; r < R; ++r) {
            load(row + r * stride + i, x);
            vi -= hs[r] * x;
            wi -= ds[r] * x;
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
    constexpr Index kLine = 64 / sizeof(Row);  // entries in a cache line
    Pack sums[R] = {};
    double tail[R] = {};
    Index i = 0;
    for (; i + kWidth <= length; i += kWidth) {
        Pack wi, x;
        load(w + i, wi);
        for (int r = 0; r < R; ++r) {
            load(row + r * stride + i, x);
            sums[r] += x * wi;
            if (i % kLine == 0) FASTLANCZOS_PREFETCH(row + r * stride + i + length);
        }
    }
    for (; i < length; ++i)
        for (int r = 0; r < R; ++r) tail[r] += row[r * stride + i] * w[i];
    for (int r = 0; r < R; ++r) dots[r] += sum(sums[r]) + tail[r];
}

// A sweep where no basis is kept, the three-term recurrence: v = u, w = z_factor z - d r - gamma u with r the row
// before (none in the first step). It takes one pass, where tiles of a basis go through the cache several times.
template <bool Before>
FASTLANCZOS_INLINE void recur(const Sweep<double>& s, Index first, Index length, double* dots) {
    const double *u = s.u + first, *z = s.z + first, *r = Before ? s.recent[0] + first : nullptr;
    double* w = s.w + first;
    const double d = Before ? s.d[0] : 0.0;
    Pack with_r{}, with_u{}, with_w{}, ds, gammas, factors;
    fill(d, ds);
    fill(s.gamma, gammas);
    fill(s.z_factor, factors);
    Index i = 0;
    for (; i + kWidth <= length; i += kWidth) {
        Pack ui, wi, ri{};
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
        store(w + i, wi);
    }
    double tail[3] = {};
    for (; i < length; ++i) {
        double wi = s.z_factor * z[i];
        if (Before) wi -= d * r[i];
        wi -= s.gamma * u[i];
        if (Before) tail[0] += r[i] * wi;
        tail[1] += u[i] * wi;
        tail[2] += wi * wi;
        w[i] = wi;
    }
    if (Before) dots[0] += sum(with_r) + tail[0];
    dots[Before] += sum(with_u) + tail[1];
    dots[Before + 1] += sum(with_w) + tail[2];
}

template <class Row>
FASTLANCZOS_TARGET inline void sweep_tile(const Sweep<Row>& s, Index first, Index length, double* dots) {
    if constexpr (sizeof(Row) == sizeof(double))
        if (s.is_recurrence)
            return s.num_recent > 0 ? recur<true>(s, first, length, dots) : recur<false>(s, first, length, dots);
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

    for (Index i = 0; i < length; ++i) s.w[first + i] = w[i];
    if (s.new_row)
        for (Index i = 0; i < length; ++i) s.new_row[first + i] = static_cast<Row>(v[i]);
    if (s.new_recent)
        for (Index i = 0; i < length; ++i) s.new_recent[first + i] = v[i];
}
