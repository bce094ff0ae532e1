// The rows of a basis replaced by combinations of them, in place and in one pass: the restart of a Lanczos run.
//
// Columns go through in tiles. Of each tile the combinations of all rows are formed beside it and written back over the
// first of them, while the tile is in cache. The candidate is corrected against all old rows and multiplied with the
// new ones in the same pass: the directions that a restart leaves out could never be removed from it later.
#pragma once

#include <algorithm>
#include <vector>

#include "tiling.hpp"

namespace fastlanczos {

// rows: k of `dim` float64 entries, `stride` apart; the first l become sum_j rotation[i * k + j] row_j. u, the
// candidate, becomes u - sum_j h_j row_j. dots[i]: new row i times the new u, which is not normalised. Returns u.u.
// Bits do not depend on the number of threads.
inline double rotate_rows(double* rows, Index stride, Index dim, Index k, Index l, const double* rotation,
                          const double* h, double* u, double* dots) {
    const Tiling tiling(dim, k + l);
    const Index sums = l + 1;
    std::vector<double> partial(static_cast<std::size_t>(tiling.chunks * sums), 0.0);
    const auto rotate_chunk = [&](Index chunk) {
        std::vector<double> tile(static_cast<std::size_t>(std::max<Index>(l, 1) * tiling.width));
        const Index end = tiling.end_column(chunk);
        for (Index first = tiling.first_column(chunk); first < end; first += tiling.width) {
            const Index length = std::min(tiling.width, end - first);
            kernels().rotate(rows + first, stride, k, l, rotation, h, u + first, length, tile.data(),
                             partial.data() + chunk * sums);
        }
    };
    parallel_for(useful_threads((k + l) * dim), tiling.chunks, rotate_chunk);
    std::fill(dots, dots + l, 0.0);
    double norm2 = 0.0;
    for (Index chunk = 0; chunk < tiling.chunks; ++chunk) {
        for (Index i = 0; i < l; ++i) dots[i] += partial[static_cast<std::size_t>(chunk * sums + i)];
        norm2 += partial[static_cast<std::size_t>(chunk * sums + l)];
    }
    return norm2;
}

}  // namespace fastlanczos
