// How the columns of a step are cut for threads and caches, and how many threads there are.
//
// Columns are cut into tiles (one tile of the whole basis fits the second-level cache) and tiles are grouped into
// chunks. Each chunk is summed by one thread, tile after tile, and the chunks' sums are added in their order. Both cuts
// depend on the problem's size alone, so a sum has the same bits whatever the number of threads.
#pragma once

#include <algorithm>
#include <atomic>

#include "kernels.hpp"

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace fastlanczos {

inline std::atomic<int>& thread_limit() {
    static std::atomic<int> limit{0};  // 0: as many as OpenMP would use
    return limit;
}

inline int num_threads() {
    const int limit = thread_limit().load();
#if defined(_OPENMP)
    return limit > 0 ? limit : omp_get_max_threads();
#else
    (void)limit;
    return 1;
#endif
}

struct Tiling {
    static constexpr Index kMaxChunks = 256;
    static constexpr Index kTileEntries = 64 * 1024;  // 512 KiB of float64: half of a common second-level cache

    Index columns = 0, width = 0, tiles = 0, chunks = 0;
    int threads = 1;

    Tiling() = default;

    // `rows` basis rows of `columns` entries go through the cache together.
    Tiling(Index columns_, Index rows) : columns(columns_) {
        width = std::min(kMaxTile, std::max<Index>(256, kTileEntries / (rows + 4) / 64 * 64));
        tiles = (columns + width - 1) / width;
        chunks = std::min(tiles, kMaxChunks);
        const Index entries = columns * (rows + 4);
        const Index useful = std::max<Index>(1, entries / 16384);  // fewer entries are faster on one thread
        threads = static_cast<int>(std::min({static_cast<Index>(num_threads()), chunks, useful}));
    }

    Index first_tile(Index chunk) const { return chunk * tiles / chunks; }
    Index first_column(Index chunk) const { return first_tile(chunk) * width; }
    Index end_column(Index chunk) const { return std::min(columns, first_tile(chunk + 1) * width); }
};

}  // namespace fastlanczos
