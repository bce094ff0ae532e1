// How the columns of a step are cut for threads and caches.
//
// Columns are cut into tiles (one tile of the whole basis fits the second-level cache) and tiles are grouped into
// chunks. Each chunk is summed by one thread, tile after tile, and the chunks' sums are added in their order. Both cuts
// depend on the problem's size alone, so a sum has the same bits whatever the number of threads.
#pragma once

#include <algorithm>

#include "threads/pool.hpp"

namespace fastlanczos {

// How many threads a pass over so many float64 entries is worth: with fewer entries for each, handing them over takes
// longer than working through them.
inline int useful_threads(Index entries) {
    return static_cast<int>(std::min<Index>(num_threads(), std::max<Index>(1, entries / 65536)));
}

struct Tiling {
    static constexpr Index kMaxChunks = 256;
    static constexpr Index kTileEntries = 64 * 1024;  // 512 KiB of float64: half of a common second-level cache
    static constexpr Index kFewTiles = 16;            // no fewer while they are not too narrow, or threads would wait

    Index columns = 0, width = 0, tiles = 0, chunks = 0;

    Tiling() = default;

    // `rows` basis rows of `columns` entries go through the cache together.
    Tiling(Index columns_, Index rows) : columns(columns_) {
        width = std::min({kMaxTile, kTileEntries / (rows + 4), columns / kFewTiles}) / 64 * 64;
        width = std::max<Index>(256, width);
        tiles = (columns + width - 1) / width;
        chunks = std::min(tiles, kMaxChunks);
    }

    Index first_tile(Index chunk) const { return chunk * tiles / chunks; }
    Index first_column(Index chunk) const { return first_tile(chunk) * width; }
    Index end_column(Index chunk) const { return std::min(columns, first_tile(chunk + 1) * width); }
};

}  // namespace fastlanczos
