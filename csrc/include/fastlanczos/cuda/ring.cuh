// The sweep of sweep.cuh with three or more tiles in shared memory, used in turn: a ring.
//
// With two tiles, the next one is asked for when the one before it has arrived, so that memory idles for a latency a
// tile. In the ring at least one whole tile is always under way while another is worked on. And there are two barriers
// a tile instead of four:
//     update   a thread has two columns and every g-th row, of tile t
//     barrier  the parts are there; nobody needs tile t - 1 any more, whose place tile t + stages - 1 gets
//     columns  a thread has one column: v and w of it, what it adds to the dot products with float64 rows, v and w, and
//              all that is written; what it reads from global memory was asked for one tile ahead
//     barrier  w is there, and tile t + 1 has arrived
//     dots     a warp has every g-th row of tile t, or its lanes several of a narrow one; then the update of tile t + 1
//     begins without a barrier
// A thread alone reads and writes what global memory has of its column, so no barrier stands between the float64 rows
// and the new one that takes the place of the oldest.
#pragma once

#include "sweep.cuh"

namespace fastlanczos::cuda {

// What a column's thread reads of it from global memory.
struct Column {
    double u = 0.0, z = 0.0, recent[2] = {0.0, 0.0};
};

// As sweep_chunk(), for a tile of three stages or more: all rows are held, no more than warps keep the sums of.
template <class Value>
__device__ __noinline__ void sweep_ring(const Run& run, Basis basis, const Rows<Value> rows, const Tile tile,
                                        const Update update, Index chunk, Index chunks, int blocks,
                                        unsigned char* shared) {
    const int threads = static_cast<int>(blockDim.x), thread = static_cast<int>(threadIdx.x);
    const int warps = warps_of_block(), warp = warp_of_thread(), lane = lane_of_thread();
    const int width = static_cast<int>(tile.width), held = static_cast<int>(tile.held), stages = tile.stages;
    const auto memory = cut_shared<Value>(shared, threads);
    double* w = memory.w;
    // Of the dots a lane has two columns of a row, and of every at_once-th row after it.
    const int across = lanes_across(width), at_once = warps * (kWarp / across);
    const int first_row = warp * (kWarp / across) + lane / across;

    const Index count = rows.count(), all_tiles = (run.dim + width - 1) / width;
    const Index first_tile = chunk * all_tiles / chunks, end_tile = (chunk + 1) * all_tiles / chunks;
    const auto length_of = [&](Index t) {
        const Index left = run.dim - t * width;
        return left < width ? left : width;
    };
    const auto place = [&](Index t) { return memory.tiles + (t - first_tile) % stages * held * width; };
    const auto fetch = [&](Index t) {
        if (held > 0 && t < end_tile)
            fetch_tile(rows, tile, t * width, length_of(t), place(t));
        else
            commit_copies();  // a group for each tile, so that the tiles under way can be counted
    };
    const auto column_of = [&](Index t) {
        Column column;
        if (t < end_tile && thread < length_of(t)) {
            const Index c = t * width + thread;
            column.u = load(run.candidate + c);
            column.z = load(update.z + c);
#pragma unroll
            for (int r = 0; r < 2; ++r)
                if (r < rows.num_recent) column.recent[r] = load(rows.recent[r] + c);
        }
        return column;
    };

    const Pair<double>* coefficients = memory.coefficients;
    for (Index j = thread; j < count; j += threads) store(memory.coefficients + j, load(run.coefficients + j));
    double sums[kRowsOfWarp], own[4];
#pragma unroll
    for (double& sum : sums) sum = 0.0;
#pragma unroll
    for (double& sum : own) sum = 0.0;

    for (int s = 0; s + 1 < stages; ++s) fetch(first_tile + s);
    Column next = column_of(first_tile);
    arrive(stages - 2);
    __syncthreads();
    for (Index t = first_tile; t < end_tile; ++t) {
        const Index length = length_of(t);
        const Value* here = place(t);
        const Column mine = next;
        next = column_of(t + 1);

        const int pairs = width / 2, groups = threads / pairs, column = thread % pairs * 2;
        if (held > 0) {
            Pair<double> subtracted_v{0.0, 0.0}, subtracted_w{0.0, 0.0};
#pragma unroll 4
            for (int j = thread / pairs; j < held; j += groups) {
                const Pair<Value> x = load(reinterpret_cast<const Pair<Value>*>(here + j * width + column));
                const Pair<double> c = load(coefficients + j);
                const double first = static_cast<double>(x.first), second = static_cast<double>(x.second);
                subtracted_v.first += c.first * first;
                subtracted_v.second += c.first * second;
                subtracted_w.first += c.second * first;
                subtracted_w.second += c.second * second;
            }
            store(memory.parts + thread, subtracted_v);
            store(memory.parts + threads + thread, subtracted_w);
            __syncthreads();
            fetch(t + stages - 1);
        }

        double wc = 0.0;
        if (thread < length) {
            double vc = 0.0;
            if (held > 0) {
                const auto* part = reinterpret_cast<const double*>(memory.parts);
                for (int g = 0; g < groups; ++g) {
                    vc += load(part + g * width + thread);
                    wc += load(part + 2 * threads + g * width + thread);
                }
            }
#pragma unroll
            for (int r = 0; r < 2; ++r)
                if (r < rows.num_recent) {
                    const Pair<double> c = load(coefficients + rows.stored + r);
                    vc += c.first * mine.recent[r];
                    wc += c.second * mine.recent[r];
                }
            vc = (mine.u - vc) * update.inverse_nu;
            wc = update.z_factor * mine.z - update.change * wc - update.gamma * vc;
#pragma unroll
            for (int r = 0; r < 2; ++r) own[r] += mine.recent[r] * wc;
            own[2] += vc * wc;
            own[3] += wc * wc;
            const Index c = t * width + thread;
            store(run.candidate + c, wc);
            if (update.new_row) {
                if (basis != Basis::none)
                    store(static_cast<Value*>(run.basis) + count * run.stride + c, static_cast<Value>(vc));
                if (basis != Basis::float64)
                    store(run.recent + (basis == Basis::float32 ? count % 2 * run.recent_stride() : 0) + c, vc);
            }
        }
        if (held == 0) continue;  // nothing is shared
        if (thread < width) store(w + thread, wc);
        arrive(stages - 2);
        __syncthreads();

        for (int c = 2 * (lane % across); c < width; c += 2 * across) {
            const Pair<double> x = load(reinterpret_cast<const Pair<double>*>(w + c));
            const Value* row_of_lane = here + first_row * width + c;
#pragma unroll
            for (int r = 0; r < kRowsOfWarp; ++r) {
                if (first_row + at_once * r >= held) break;
                const Pair<Value> row = load(reinterpret_cast<const Pair<Value>*>(row_of_lane));
                sums[r] += static_cast<double>(row.first) * x.first + static_cast<double>(row.second) * x.second;
                row_of_lane += at_once * width;
            }
        }
    }

#pragma unroll
    for (int r = 0; r < kRowsOfWarp; ++r) {
        if (warp * (kWarp / across) + at_once * r >= held) break;  // for all lanes of a warp
        const double sum = reduce_lanes(sums[r], across);
        const Index j = first_row + at_once * r;
        if (lane % across == 0 && j < held) store(run.partial + j * blocks + chunk, sum);
    }
#pragma unroll
    for (int s = 0; s < 4; ++s) {
        if (s < 2 && s >= rows.num_recent) continue;
        const double sum = reduce_block(own[s], memory.room);
        const Index j = s < 2 ? rows.stored + s : count + s - 2;
        if (thread == 0) store(run.partial + j * blocks + chunk, sum);
    }
}

}  // namespace fastlanczos::cuda
