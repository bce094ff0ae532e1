// What a sweep over rows adds up: dot products, tile by tile in each chunk, and then over the chunks in their order.
#pragma once

#include <vector>

#include "tiling.hpp"

namespace fastlanczos {

// For vectors of `columns` real numbers (pairs of them, where they are complex) and at most `most` dot products.
struct SweptSums {
    Index columns = 0;
    bool is_complex = false;
    Tiling tiling;
    std::vector<double> dots, imaginary;  // `imaginary` only of complex vectors

    SweptSums(Index columns_, Index most, bool is_complex_) : columns(columns_), is_complex(is_complex_) {
        dots.resize(static_cast<std::size_t>(sums_of(most)));
        imaginary.resize(static_cast<std::size_t>(is_complex ? most : 0));
    }

    // Real numbers of so many dot products.
    Index sums_of(Index count) const { return is_complex ? 2 * count : count; }

    // Cuts the columns such that so many rows go through the cache together.
    void cut(Index rows) {
        tiling = Tiling(columns, rows);
        partial_.resize(static_cast<std::size_t>(tiling.chunks) * dots.size());
    }

    template <class Row>
    void sweep(const Sweep<Row>& sweep, void (*kernel)(const Sweep<Row>&, Index, Index, double*),
               Interrupt* interrupt = nullptr) {
        const auto sweep_chunk = [&](Index chunk) {
            double* sums = partial_.data() + chunk * static_cast<Index>(dots.size());
            std::fill(sums, sums + sweep.num_sums(), 0.0);
            const Index end = tiling.end_column(chunk);
            for (Index first = tiling.first_column(chunk); first < end; first += tiling.width)
                kernel(sweep, first, std::min(tiling.width, end - first), sums);
        };
        parallel_for(useful_threads((sweep.num_rows() + 4) * columns), tiling.chunks, sweep_chunk, interrupt);
    }

    // Adds the chunks: sums_of(count) numbers in `dots`, real parts first.
    void add_chunks(Index count) {
        std::fill(dots.begin(), dots.begin() + sums_of(count), 0.0);
        for (Index chunk = 0; chunk < tiling.chunks; ++chunk)
            for (Index j = 0; j < sums_of(count); ++j)
                dots[static_cast<std::size_t>(j)] +=
                    partial_[static_cast<std::size_t>(chunk * static_cast<Index>(dots.size()) + j)];
    }

    // Puts imaginary parts where they belong, once the sums are whole.
    void split(Index count) {
        if (is_complex) std::copy_n(dots.begin() + count, count, imaginary.begin());
    }

private:
    std::vector<double> partial_;
};

}  // namespace fastlanczos
