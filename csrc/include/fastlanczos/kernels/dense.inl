// Dense rows times vectors, for one instruction set: included by instruction_set.inl.

// R rows times C vectors. The sum of one row and one vector takes the same order for every R and C.
template <int R, int C, class Value>
FASTLANCZOS_INLINE void multiply_rows(const Value* row, Index stride, Index n, const double* const* x, double* const* y,
                                      Index first) {
    Pack sums[R][C] = {};
    double tail[R][C] = {};
    Index j = 0;
    for (; j + kWidth <= n; j += kWidth) {
        Pack xs[C], a;
        for (int c = 0; c < C; ++c) load(x[c] + j, xs[c]);
        for (int r = 0; r < R; ++r) {
            load(row + r * stride + j, a);
            for (int c = 0; c < C; ++c) sums[r][c] += a * xs[c];
        }
    }
    for (; j < n; ++j)
        for (int r = 0; r < R; ++r)
            for (int c = 0; c < C; ++c) tail[r][c] += row[r * stride + j] * x[c][j];
    for (int r = 0; r < R; ++r)
        for (int c = 0; c < C; ++c) y[c][first + r] = sum(sums[r][c]) + tail[r][c];
}

template <class Value>
FASTLANCZOS_TARGET inline void multiply_dense(const Value* values, Index stride, Index first, Index end, Index n,
                                              Index count, const double* const* x, double* const* y) {
    constexpr int R = kWidth == 8 ? 4 : 2;  // with four vectors: what the registers hold
    Index i = first;
    if (count >= 4)
        for (; i + R <= end; i += R) {
            Index c = 0;
            for (; c + 4 <= count; c += 4) multiply_rows<R, 4>(values + i * stride, stride, n, x + c, y + c, i);
            for (; c < count; ++c) multiply_rows<R, 1>(values + i * stride, stride, n, x + c, y + c, i);
        }
    else
        for (; i + 4 <= end; i += 4)
            for (Index c = 0; c < count; ++c) multiply_rows<4, 1>(values + i * stride, stride, n, x + c, y + c, i);
    for (; i < end; ++i)
        for (Index c = 0; c < count; ++c) multiply_rows<1, 1>(values + i * stride, 0, n, x + c, y + c, i);
}

// y += sum_r s_r row_r for R rows.
template <int R, class Value>
FASTLANCZOS_INLINE void add_rows(const Value* row, Index stride, Index n, const double* s, double* y) {
    Pack factors[R];
    for (int r = 0; r < R; ++r) fill(s[r], factors[r]);
    Index j = 0;
    for (; j + kWidth <= n; j += kWidth) {
        Pack yj, a;
        load(y + j, yj);
        for (int r = 0; r < R; ++r) {
            load(row + r * stride + j, a);
            yj += factors[r] * a;
        }
        store(y + j, yj);
    }
    for (; j < n; ++j)
        for (int r = 0; r < R; ++r) y[j] += s[r] * row[r * stride + j];
}

template <class Value>
FASTLANCZOS_TARGET inline void combine_dense(const Value* values, Index stride, Index count, Index n, const double* s,
                                             double* y) {
    Index i = 0;
    for (; i + 8 <= count; i += 8) add_rows<8>(values + i * stride, stride, n, s + i, y);
    for (; i < count; ++i) add_rows<1>(values + i * stride, 0, n, s + i, y);
}
