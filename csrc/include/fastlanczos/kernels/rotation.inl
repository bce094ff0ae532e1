// Combinations of basis rows on one tile of columns, for one instruction set: included by instruction_set.inl.

// out_r = sum_j rotation[r * k + j] row_j for R combinations; two registers of columns at a time.
template <int R>
FASTLANCZOS_INLINE void combine_rows(const double* rows, Index stride, Index k, const double* rotation, Index length,
                                     double* out) {
    Index i = 0;
    for (; i + 2 * kWidth <= length; i += 2 * kWidth) {
        Pack left[R] = {}, right[R] = {};
        for (Index j = 0; j < k; ++j) {
            Pack x, y, factor;
            load(rows + j * stride + i, x);
            load(rows + j * stride + i + kWidth, y);
            for (int r = 0; r < R; ++r) {
                fill(rotation[r * k + j], factor);
                left[r] += factor * x;
                right[r] += factor * y;
            }
        }
        for (int r = 0; r < R; ++r) {
            store(out + r * length + i, left[r]);
            store(out + r * length + i + kWidth, right[r]);
        }
    }
    for (; i < length; ++i)
        for (int r = 0; r < R; ++r) {
            double sum = 0.0;
            for (Index j = 0; j < k; ++j) sum += rotation[r * k + j] * rows[j * stride + i];
            out[r * length + i] = sum;
        }
}

// One tile of rotate_rows in rotation.hpp. `tile` is memory for l x length entries; adds to l + 1 sums.
FASTLANCZOS_TARGET inline void rotate(double* rows, Index stride, Index k, Index l, const double* rotation,
                                      const double* h, double* u, Index length, double* tile, double* sums) {
    constexpr int R = FASTLANCZOS_ROWS;
    for (Index j = 0; j < k; ++j)
        for (Index i = 0; i < length; ++i) u[i] -= h[j] * rows[j * stride + i];
    Index r = 0;
    for (; r + R <= l; r += R) combine_rows<R>(rows, stride, k, rotation + r * k, length, tile + r * length);
    for (; r < l; ++r) combine_rows<1>(rows, stride, k, rotation + r * k, length, tile + r * length);
    for (r = 0; r < l; ++r) {
        double* row = rows + r * stride;
        for (Index i = 0; i < length; ++i) row[i] = tile[r * length + i];
    }
    for (r = 0; r < l; ++r) dot_rows<1>(rows + r * stride, 0, u, length, sums + r);
    dot_rows<1>(u, 0, u, length, sums + l);
}
