// The sweep of a step over one chunk of columns, by one block, with up to two tiles in shared memory; ring.cuh has
// more.
//
// A tile (all rows, `width` columns) comes from memory once, by asynchronous copies into shared memory, while the tile
// before it is worked on, and is used twice there:
//     update   a thread has two columns and every g-th row; the groups' parts are then added in their order
//     dots     a warp has every g-th row, its lanes the columns; sums stay in registers over all tiles of the chunk
// Where two tiles of 32 columns do not fit, one is held; where one does not fit, the rows that are left over are read
// twice, the second time from the L2 cache if it has them. Bytes read: rows * columns * itemsize while a tile fits.
// Blocks have a power of two of threads, at least kWarp.
#pragma once

#include "run.cuh"

namespace fastlanczos::cuda {

constexpr int kRowsOfWarp = 32;              // whose sums a warp keeps in registers
constexpr Index kSharedCoefficients = 1024;  // more are read from global memory
constexpr Index kMaxWidth = 512;
static_assert(kMaxWidth <= 2 * kMaxThreads, "a thread has two columns at most");

// How shared memory is used for `rows` stored rows of `itemsize` bytes.
struct Tile {
    Index width = 0, held = 0;  // columns; rows that are held
    int stages = 1;             // tiles in memory at once
};

constexpr Index kNarrowest = 16;  // columns of a ring's tile: rows of 64 bytes at least

// Lanes of a warp that lie across a row of a ring's tile, with two columns each; the others have further rows.
__host__ __device__ constexpr int lanes_across(Index width) {
    return static_cast<int>(width / 2 < kWarp ? width / 2 : kWarp);
}

constexpr int kMaxStages = 6;
static_assert(kMaxStages - 2 <= kMaxPending);

// Shared memory in front of the tiles, in bytes.
__host__ __device__ inline Index fixed_shared_bytes(int threads) {
    const Index width = 2 * threads < kMaxWidth ? 2 * threads : kMaxWidth;
    return 8 * (kWarp + 4 * threads + 2 * width + 2 * kSharedCoefficients);
}

// The widest tile of which three fit, and as many of them as fit, where `stages` allows three; or else two, or one.
__host__ __device__ inline Tile choose_tile(Index rows, Index itemsize, int threads, Index shared_bytes, int stages) {
    const Index room = shared_bytes - fixed_shared_bytes(threads);
    Tile tile;
    // A ring's threads have one column each, its warps the sums of all rows; see ring.cuh.
    if (stages > 2) {
        tile.held = rows;
        for (tile.width = threads; tile.width >= kNarrowest; tile.width /= 2) {
            const Index bytes = rows * tile.width * itemsize;
            if (3 * bytes > room || rows > kRowsOfWarp * (threads / kWarp) * (kWarp / lanes_across(tile.width)))
                continue;
            const Index fitting = bytes == 0 ? 3 : room / bytes;
            tile.stages = static_cast<int>(fitting < stages ? fitting : stages);
            return tile;
        }
    }
    tile.stages = 2;
    tile.held = rows;
    for (tile.width = 2 * threads < kMaxWidth ? 2 * threads : kMaxWidth; tile.width > 32; tile.width /= 2)
        if (2 * rows * tile.width * itemsize <= room) return tile;
    const Index row = tile.width * itemsize;
    if (2 * rows * row <= room) return tile;
    tile.stages = 1;
    tile.held = rows * row <= room ? rows : room / row;
    return tile;
}

__host__ __device__ inline Index chunks_of(Index columns, Index width, int blocks) {
    const Index tiles = (columns + width - 1) / width;
    return tiles < blocks ? tiles : blocks;
}

// A block's shared memory.
template <class Value>
struct Shared {
    double* room;                // (kWarp), of reduce_block
    Pair<double>* parts;         // (2, threads)
    double *v, *w;               // (2 threads, at most kMaxWidth)
    Pair<double>* coefficients;  // (kSharedCoefficients)
    Value* tiles;
};

template <class Value>
__device__ __forceinline__ Shared<Value> cut_shared(unsigned char* shared, int threads) {
    const Index most = 2 * threads < kMaxWidth ? 2 * threads : kMaxWidth;
    Shared<Value> memory;
    memory.room = reinterpret_cast<double*>(shared);
    memory.parts = reinterpret_cast<Pair<double>*>(memory.room + kWarp);
    memory.v = memory.room + kWarp + 4 * threads;
    memory.w = memory.v + most;
    memory.coefficients = reinterpret_cast<Pair<double>*>(memory.w + most);
    memory.tiles = reinterpret_cast<Value*>(memory.coefficients + kSharedCoefficients);
    return memory;
}

// Two neighbours of a row in global memory, zero beyond its `length` columns.
template <class Value>
__device__ __forceinline__ Pair<double> pair_within(const Value* row, Index column, Index length) {
    if (column + 1 < length) {
        const Pair<Value> x = load(reinterpret_cast<const Pair<Value>*>(row + column));
        return {static_cast<double>(x.first), static_cast<double>(x.second)};
    }
    return {column < length ? static_cast<double>(load(row + column)) : 0.0, 0.0};
}

// What the sweep does with the vectors:  v = (u - sum_j first_j row_j) * inverse_nu,
// w = z_factor * z - change * sum_j second_j row_j - gamma * v, over the coefficients' pairs.
struct Update {
    const double* z;
    double inverse_nu, z_factor, change, gamma;
    bool new_row;
};

// Rows of a sweep: `stored` ones in the basis, then up to two in float64.
template <class Value>
struct Rows {
    const Value* stored_rows;
    Index stride, stored;
    const double* recent[2];
    int num_recent;

    __device__ Index count() const { return stored + num_recent; }
};

template <class Value>
__device__ Rows<Value> rows_of(const Run& run, Basis basis, Index finished) {
    Rows<Value> rows{};
    const Index kept = basis == Basis::none ? 1 : basis == Basis::float32 ? 2 : 0;
    rows.num_recent = static_cast<int>(finished < kept ? finished : kept);
    rows.stored = basis == Basis::none ? 0 : finished - rows.num_recent;
    rows.stored_rows = static_cast<const Value*>(run.basis);
    rows.stride = run.stride;
    for (int r = 0; r < rows.num_recent; ++r)
        rows.recent[r] =
            basis == Basis::none ? run.recent : run.recent + (finished - rows.num_recent + r) % 2 * run.recent_stride();
    return rows;
}

template <class Value>
__device__ __forceinline__ void fetch_tile(const Rows<Value>& rows, const Tile& tile, Index first, Index length,
                                           Value* to) {
    constexpr int kPiece = 16 / sizeof(Value);
    const int pieces = static_cast<int>(tile.width) / kPiece;  // of a row: no more than there are threads
    const int rows_at_once = static_cast<int>(blockDim.x) / pieces;
    const Index column = static_cast<int>(threadIdx.x) % pieces * kPiece, left = length - column;
    const int valid = static_cast<int>(left < 0 ? 0 : left < kPiece ? left : kPiece);
    Index row = static_cast<int>(threadIdx.x) / pieces;
    const Value* from = rows.stored_rows + row * rows.stride + first + (valid > 0 ? column : 0);
    for (; row < tile.held; row += rows_at_once, from += rows_at_once * rows.stride)
        copy_async(to + row * tile.width + column, from, (kPiece - valid) * static_cast<int>(sizeof(Value)));
    commit_copies();
}

// Sweeps chunk `chunk` of `chunks` and leaves its dot products with w in partial[row * blocks + chunk]: those of the
// rows, then of v, then of w itself.
template <class Value>
__device__ __noinline__ void sweep_chunk(const Run& run, Basis basis, const Rows<Value> rows, const Tile tile,
                                         const Update update, Index chunk, Index chunks, int blocks,
                                         unsigned char* shared) {
    const int threads = static_cast<int>(blockDim.x), thread = static_cast<int>(threadIdx.x);
    const int warps = warps_of_block(), warp = warp_of_thread(), lane = lane_of_thread();
    const auto memory = cut_shared<Value>(shared, threads);
    Pair<double>* parts = memory.parts;
    double *v = memory.v, *w = memory.w;
    Value* tiles = memory.tiles;

    const Index count = rows.count(), all_tiles = (run.dim + tile.width - 1) / tile.width;
    const Index first_tile = chunk * all_tiles / chunks, end_tile = (chunk + 1) * all_tiles / chunks;
    const int width = static_cast<int>(tile.width);
    const int in_registers = static_cast<int>(tile.held < kRowsOfWarp * warps ? tile.held : kRowsOfWarp * warps);
    const auto length_of = [&](Index t) {
        const Index left = run.dim - t * tile.width;
        return left < tile.width ? left : tile.width;
    };

    const Pair<double>* coefficients = run.coefficients;
    if (count <= kSharedCoefficients) {
        for (Index j = thread; j < count; j += threads) store(memory.coefficients + j, load(run.coefficients + j));
        coefficients = memory.coefficients;
    }
    for (Index j = in_registers + thread; j < rows.stored; j += threads) store(run.partial + j * blocks + chunk, 0.0);
    double sums[kRowsOfWarp], other_sums[4];
#pragma unroll
    for (double& sum : sums) sum = 0.0;
#pragma unroll
    for (double& sum : other_sums) sum = 0.0;

    fetch_tile(rows, tile, first_tile * tile.width, length_of(first_tile), tiles);
    for (Index t = first_tile; t < end_tile; ++t) {
        const Index first = t * tile.width, length = length_of(t);
        Value* here = tiles + (tile.stages == 2 ? (t - first_tile) % 2 : 0) * tile.held * tile.width;
        arrive(0);
        __syncthreads();
        if (tile.stages == 2 && t + 1 < end_tile)
            fetch_tile(rows, tile, first + tile.width, length_of(t + 1),
                       tiles + (t + 1 - first_tile) % 2 * tile.held * tile.width);

        // Update: parts of the sums over rows, then v and w. What comes from far away is asked for first.
        double u_here[2] = {}, z_here[2] = {};
#pragma unroll
        for (int i = 0; i < 2; ++i)
            if (const Index c = thread + i * threads; c < length) {
                u_here[i] = load(run.candidate + first + c);
                z_here[i] = load(update.z + first + c);
            }
        const int pairs = static_cast<int>(tile.width / 2), groups = threads / pairs;
        const Index column = thread % pairs * 2;
        Pair<double> subtracted_v{0.0, 0.0}, subtracted_w{0.0, 0.0};
        const auto subtract = [&](Pair<double> c, Pair<double> x) {
            subtracted_v.first += c.first * x.first;
            subtracted_v.second += c.first * x.second;
            subtracted_w.first += c.second * x.first;
            subtracted_w.second += c.second * x.second;
        };
        Index j = thread / pairs;
#pragma unroll 4
        for (; j < tile.held; j += groups) {
            const Pair<Value> x = load(reinterpret_cast<const Pair<Value>*>(here + j * tile.width + column));
            subtract(load(coefficients + j), {static_cast<double>(x.first), static_cast<double>(x.second)});
        }
        for (; j < rows.stored; j += groups)
            subtract(load(coefficients + j), pair_within(rows.stored_rows + j * rows.stride + first, column, length));
        for (; j < count; j += groups)
            subtract(load(coefficients + j), pair_within(rows.recent[j - rows.stored] + first, column, length));
        store(parts + thread, subtracted_v);
        store(parts + threads + thread, subtracted_w);
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const Index c = thread + i * threads;
            if (c >= tile.width) break;
            double vc = 0.0, wc = 0.0;
            if (c < length) {
                const auto* part = reinterpret_cast<const double*>(parts);
                for (int g = 0; g < groups; ++g) {
                    vc += load(part + g * tile.width + c);
                    wc += load(part + 2 * threads + g * tile.width + c);
                }
                vc = (u_here[i] - vc) * update.inverse_nu;
                wc = update.z_factor * z_here[i] - update.change * wc - update.gamma * vc;
            }
            store(v + c, vc);
            store(w + c, wc);
        }
        __syncthreads();

        // Dots.
        for (int c = 2 * lane; c < width; c += 2 * kWarp) {
            const Pair<double> x = load(reinterpret_cast<const Pair<double>*>(w + c));
            const Value* row_of_warp = here + warp * width + c;
#pragma unroll
            for (int r = 0; r < kRowsOfWarp; ++r) {
                if (warp + warps * r >= in_registers) break;
                const Pair<Value> row = load(reinterpret_cast<const Pair<Value>*>(row_of_warp));
                sums[r] += static_cast<double>(row.first) * x.first + static_cast<double>(row.second) * x.second;
                row_of_warp += warps * width;
            }
#pragma unroll
            for (int s = 0; s < 4; ++s) {
                if (s % warps != warp) continue;
                Pair<double> row = x;
                if (s < 2) {
                    if (s >= rows.num_recent) continue;
                    row = pair_within(rows.recent[s] + first, c, length);
                } else if (s == 2) {
                    row = load(reinterpret_cast<const Pair<double>*>(v + c));
                }
                other_sums[s] += row.first * x.first + row.second * x.second;
            }
        }
        for (Index j = in_registers + warp; j < rows.stored; j += warps) {  // more rows than sums in registers
            double sum = 0.0;
            for (Index c = 2 * lane; c < tile.width; c += 2 * kWarp) {
                const Pair<double> x = load(reinterpret_cast<const Pair<double>*>(w + c));
                Pair<double> row;
                if (j < tile.held) {
                    const Pair<Value> near = load(reinterpret_cast<const Pair<Value>*>(here + j * tile.width + c));
                    row = {static_cast<double>(near.first), static_cast<double>(near.second)};
                } else {
                    row = pair_within(rows.stored_rows + j * rows.stride + first, c, length);
                }
                sum += row.first * x.first + row.second * x.second;
            }
            sum = reduce_warp(sum);
            double* total = run.partial + j * blocks + chunk;
            if (lane == 0) store(total, load(total) + sum);
        }
        __syncthreads();  // the recent rows, which the new one may take the place of, have been read

        for (Index c = thread; c < length; c += threads) {
            store(run.candidate + first + c, load(w + c));
            if (!update.new_row) continue;
            const double vc = load(v + c);
            const Index row = rows.count();
            if (basis != Basis::none)
                store(static_cast<Value*>(run.basis) + row * run.stride + first + c, static_cast<Value>(vc));
            if (basis != Basis::float64)
                store(run.recent + (basis == Basis::float32 ? row % 2 * run.recent_stride() : 0) + first + c, vc);
        }
        if (tile.stages == 1 && t + 1 < end_tile) fetch_tile(rows, tile, first + tile.width, length_of(t + 1), tiles);
    }

#pragma unroll
    for (int r = 0; r < kRowsOfWarp; ++r) {
        const Index j = warp + warps * r;
        if (j >= in_registers) break;
        const double sum = reduce_warp(sums[r]);
        if (lane == 0) store(run.partial + j * blocks + chunk, sum);
    }
#pragma unroll
    for (int s = 0; s < 4; ++s) {
        if (s % warps != warp || (s < 2 && s >= rows.num_recent)) continue;
        const double sum = reduce_warp(other_sums[s]);
        const Index j = s < 2 ? rows.stored + s : count + s - 2;
        if (lane == 0) store(run.partial + j * blocks + chunk, sum);
    }
}

}  // namespace fastlanczos::cuda
