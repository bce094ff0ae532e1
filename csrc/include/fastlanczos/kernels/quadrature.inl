// Implicit QL on eight tridiagonal matrices at once, one in each lane, for one instruction set: included by
// instruction_set.inl. Entry i of the matrix in a lane is at [i * kLanes + lane]. As many lanes as a register has go
// together: compilers make scalar code of masks that are wider than a register.

// For the lanes of a register. first[lane]: the lowest i in low[lane] .. high[lane] - 1 whose off-diagonal is
// negligible, otherwise high[lane].
FASTLANCZOS_INLINE void find_blocks_of_register(const double* d, const double* e, const long long* low,
                                                const long long* high, long long* first) {
    constexpr double eps = 2.220446049250313e-16;
    Index bottom = low[0], top = high[0];
    double found[kWidth];
    for (Index lane = 0; lane < kWidth; ++lane) {
        bottom = low[lane] < bottom ? low[lane] : bottom;
        top = high[lane] > top ? high[lane] : top;
        found[lane] = static_cast<double>(high[lane]);
    }
    PackIndices lows, highs;
    for (Index lane = 0; lane < kWidth; ++lane) {
        lows[lane] = low[lane];
        highs[lane] = high[lane];
    }
    Pack firsts, tiny, next;
    load(found, firsts);
    for (Index lane = 0; lane < kWidth; ++lane) found[lane] = kSmallSquare;
    load(found, tiny);
    load(d + top * kLanes, next);
    for (Index i = top - 1; i >= bottom; --i) {
        Pack di, ei, product;
        load(d + i * kLanes, di);
        load(e + i * kLanes, ei);
        magnitude(di * next, product);
        next = di;
        const Pack here = tiny * (static_cast<double>(i) / kSmallSquare);
        choose((ei * ei <= (eps * eps) * product + tiny) & (lows <= i) & (highs > i), here, firsts, firsts);
    }
    store(found, firsts);
    for (Index lane = 0; lane < kWidth; ++lane) first[lane] = static_cast<long long>(found[lane] + 0.5);
}

// One QL sweep with the given shifts on rows low .. high of the matrix in each lane of a register; nothing where high
// == low. `row` is the first row of the eigenvectors.
FASTLANCZOS_INLINE void ql_sweep_of_register(double* d, double* e, double* row, const long long* low,
                                             const long long* high, const double* shifts) {
    Index bottom = low[0], top = high[0];
    PackIndices lows, highs;
    double start[kWidth], ones[kWidth], zeros[kWidth], smalls[kWidth];
    for (Index lane = 0; lane < kWidth; ++lane) {
        bottom = low[lane] < bottom ? low[lane] : bottom;
        top = high[lane] > top ? high[lane] : top;
        lows[lane] = low[lane];
        highs[lane] = high[lane];
        start[lane] = d[high[lane] * kLanes + lane] - shifts[lane];
        ones[lane] = 1.0;
        zeros[lane] = 0.0;
        smalls[lane] = kSmallSquare;
    }
    Pack g, sine, cosine, p, small_square, zero, one;
    load(start, g);
    load(ones, one);
    load(zeros, zero);
    load(smalls, small_square);
    sine = cosine = one;
    p = zero;
    Pack live = one;          // 0 in a lane whose sweep has met a split and is over
    Pack upper_d, upper_row;  // row i + 1, as the rotations left it
    load(d + top * kLanes, upper_d);
    load(row + top * kLanes, upper_row);
    for (Index i = top - 1; i >= bottom; --i) {
        Pack di, ei, ri, upper_e;
        load(d + i * kLanes, di);
        load(e + i * kLanes, ei);
        load(row + i * kLanes, ri);
        load(e + (i + 1) * kLanes, upper_e);
        const Pack f = sine * ei, b = cosine * ei;
        const Pack squares = f * f + g * g;
        const PackMask within = (lows <= i) & (highs > i) & (live > zero);
        const PackMask split = within & (squares <= small_square);
        const PackMask active = within & (squares > small_square);
        choose(split, zero, live, live);

        Pack safe, norm, s, c;
        choose(active, squares, one, safe);
        square_root(safe, norm);
        s = f / norm;
        c = g / norm;
        const Pack rest = upper_d - p;
        const Pack t = (di - rest) * s + 2.0 * (c * b);
        const Pack q = s * t;

        Pack value;
        choose(active, norm, zero, value);
        choose(within & (highs > i + 1), value, upper_e, value);
        store(e + (i + 1) * kLanes, value);
        choose(active, rest + q, rest, value);
        choose(within, value, upper_d, value);
        store(d + (i + 1) * kLanes, value);
        choose(active, s * ri + c * upper_row, upper_row, value);
        store(row + (i + 1) * kLanes, value);
        choose(active, c * ri - s * upper_row, ri, upper_row);
        upper_d = di;

        choose(active, c * t - b, g, g);
        choose(active, q, p, p);
        choose(active, s, sine, sine);
        choose(active, c, cosine, cosine);
    }
    store(row + bottom * kLanes, upper_row);
    store(start, g);
    store(ones, p);
    store(zeros, live);
    for (Index lane = 0; lane < kWidth; ++lane)
        if (high[lane] > low[lane] && zeros[lane] > 0.0) {
            d[low[lane] * kLanes + lane] -= ones[lane];
            e[low[lane] * kLanes + lane] = start[lane];
        }
}

FASTLANCZOS_TARGET inline void find_blocks(const double* d, const double* e, const long long* low,
                                           const long long* high, long long* first) {
    for (Index lane = 0; lane < kLanes; lane += kWidth)
        find_blocks_of_register(d + lane, e + lane, low + lane, high + lane, first + lane);
}

FASTLANCZOS_TARGET inline void ql_sweep(double* d, double* e, double* row, const long long* low, const long long* high,
                                        const double* shifts) {
    for (Index lane = 0; lane < kLanes; lane += kWidth)
        ql_sweep_of_register(d + lane, e + lane, row + lane, low + lane, high + lane, shifts + lane);
}
