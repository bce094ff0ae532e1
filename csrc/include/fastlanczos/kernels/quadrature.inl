// Implicit QL on eight tridiagonal matrices at once, one in each lane, for one instruction set: included by
// instruction_set.inl. Entry i of the matrix in a lane is at [i * kLanes + lane].

// first[lane]: the lowest i in low[lane] .. high[lane] - 1 whose off-diagonal is negligible, otherwise high[lane].
FASTLANCZOS_TARGET inline void find_blocks(const double* d, const double* e, const long long* low,
                                           const long long* high, long long* first) {
    constexpr double eps = 2.220446049250313e-16;
    Index bottom = low[0], top = high[0];
    double found[kLanes];
    for (Index lane = 0; lane < kLanes; ++lane) {
        bottom = low[lane] < bottom ? low[lane] : bottom;
        top = high[lane] > top ? high[lane] : top;
        found[lane] = static_cast<double>(high[lane]);
    }
    LaneIndices lows, highs;
    for (Index lane = 0; lane < kLanes; ++lane) {
        lows[lane] = low[lane];
        highs[lane] = high[lane];
    }
    Lanes firsts, tiny, next;
    load(found, firsts);
    for (Index lane = 0; lane < kLanes; ++lane) found[lane] = kSmallSquare;
    load(found, tiny);
    load(d + top * kLanes, next);
    for (Index i = top - 1; i >= bottom; --i) {
        Lanes di, ei, product;
        load(d + i * kLanes, di);
        load(e + i * kLanes, ei);
        magnitude(di * next, product);
        next = di;
        const Lanes here = tiny * (static_cast<double>(i) / kSmallSquare);
        choose((ei * ei <= (eps * eps) * product + tiny) & (lows <= i) & (highs > i), here, firsts, firsts);
    }
    store(found, firsts);
    for (Index lane = 0; lane < kLanes; ++lane) first[lane] = static_cast<long long>(found[lane] + 0.5);
}

// One QL sweep with the given shifts on rows low .. high of each lane's matrix; nothing where high == low. `row` is the
// first row of the eigenvectors.
FASTLANCZOS_TARGET inline void ql_sweep(double* d, double* e, double* row, const long long* low, const long long* high,
                                        const double* shifts) {
    Index bottom = low[0], top = high[0];
    LaneIndices lows, highs;
    double start[kLanes], ones[kLanes], zeros[kLanes], smalls[kLanes];
    for (Index lane = 0; lane < kLanes; ++lane) {
        bottom = low[lane] < bottom ? low[lane] : bottom;
        top = high[lane] > top ? high[lane] : top;
        lows[lane] = low[lane];
        highs[lane] = high[lane];
        start[lane] = d[high[lane] * kLanes + lane] - shifts[lane];
        ones[lane] = 1.0;
        zeros[lane] = 0.0;
        smalls[lane] = kSmallSquare;
    }
    Lanes g, sine, cosine, p, small_square, zero, one;
    load(start, g);
    load(ones, one);
    load(zeros, zero);
    load(smalls, small_square);
    sine = cosine = one;
    p = zero;
    Lanes live = one;          // 0 in a lane whose sweep has met a split and is over
    Lanes upper_d, upper_row;  // row i + 1, as the rotations left it
    load(d + top * kLanes, upper_d);
    load(row + top * kLanes, upper_row);
    for (Index i = top - 1; i >= bottom; --i) {
        Lanes di, ei, ri, upper_e;
        load(d + i * kLanes, di);
        load(e + i * kLanes, ei);
        load(row + i * kLanes, ri);
        load(e + (i + 1) * kLanes, upper_e);
        const Lanes f = sine * ei, b = cosine * ei;
        const Lanes squares = f * f + g * g;
        const Mask within = (lows <= i) & (highs > i) & (live > zero);
        const Mask split = within & (squares <= small_square);
        const Mask active = within & (squares > small_square);
        choose(split, zero, live, live);

        Lanes safe, norm, s, c;
        choose(active, squares, one, safe);
        square_root(safe, norm);
        s = f / norm;
        c = g / norm;
        const Lanes rest = upper_d - p;
        const Lanes t = (di - rest) * s + 2.0 * (c * b);
        const Lanes q = s * t;

        Lanes value;
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
    for (Index lane = 0; lane < kLanes; ++lane)
        if (high[lane] > low[lane] && zeros[lane] > 0.0) {
            d[low[lane] * kLanes + lane] -= ones[lane];
            e[low[lane] * kLanes + lane] = start[lane];
        }
}
