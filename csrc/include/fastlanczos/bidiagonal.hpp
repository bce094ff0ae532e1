// Golub and Kahan's bidiagonalization with both bases orthogonal to rounding, each in one sweep a step, in float64.
//
// B V^T = U^T T with T upper bidiagonal: alpha on its diagonal, beta beside. As in step.hpp the correction of a vector
// waits for the sweep that its product makes necessary anyway. State before step j, all finished rows orthonormal to
// rounding:
//     p, q     unit candidates for v_j and u_{j-1}, not yet orthogonalized a second time
//     h, e     V_{<j} p and U_{<j-1} q, exact to rounding for the candidates that are stored
// With the product x = B p, nu = sqrt(1 - h.h), beta = beta_{j-1} nu and c = T h, one sweep over U:
//     u_{j-1}  = (q - U^T e) / sqrt(1 - e.e)
//     w        = (x - U^T c) / nu - beta u_{j-1}              B v_j less what is known of it
//     g        = U w,   alpha_j^2 = w.w                       the next q = w / alpha_j, e = g / alpha_j
// and with y = B^H q, mu = sqrt(1 - e.e), alpha = alpha_j mu and c = T^H e, one over V:
//     v_j      = (p - V^T h) / nu
//     w        = (y - V^T c) / mu - alpha v_j
//     g        = V w,   beta_j^2 = w.w                        the next p = w / beta_j, h = g / beta_j
// Nothing is squared, so a value far below the norm is as good as any. A candidate that lay mostly in the span of the
// rows is swept again before its product. Where alpha_j or beta_j is at the rounding level of T the spaces are
// invariant. Complex vectors are pairs of real columns, and T is real, as in step.hpp.
#pragma once

#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "swept_sums.hpp"

namespace fastlanczos {

class Bidiagonalization {
public:
    // The caller's memory for one of both sides: at most `most` rows of `dim` entries (a complex one counts as two
    // numbers), `stride` numbers apart, and a vector for the candidate.
    struct Memory {
        Index dim = 0;
        double* rows = nullptr;
        Index stride = 0;
        double* candidate = nullptr;
    };

    Bidiagonalization(Memory left, Memory right, Index most, Field field)
        : left_(left, most, field), right_(right, most, field), most_(most) {
        if (left.dim < 1 || right.dim < 1 || most < 1) throw std::invalid_argument("sizes must be at least 1");
        for (std::vector<double>* x : {&c_, &c_imaginary_}) x->resize(static_cast<std::size_t>(most) + 1);
    }

    // Begins from v0 / |v0|, which is put where the right candidate is. False when v0 is zero or not finite.
    bool start(const double* v0) {
        alpha_.clear();
        beta_.clear();
        scale_ = 0.0;
        ended_ = false;
        left_.forget();
        right_.forget();
        const Index columns = right_.sums.columns;
        double largest = 0.0, norm = 0.0;
        for (Index i = 0; i < columns; ++i) largest = std::max(largest, std::abs(v0[i]));
        if (!(largest > 0.0) || largest == std::numeric_limits<double>::infinity()) return false;
        for (Index i = 0; i < columns; ++i) norm += v0[i] / largest * (v0[i] / largest);
        if (!(norm > 0.0)) return false;  // there is a NaN
        for (Index i = 0; i < columns; ++i) right_.memory.candidate[i] = v0[i] / largest / std::sqrt(norm);
        return true;
    }

    // The first half of a step, with x = B p. False where B p adds nothing to the rows: then the run has ended.
    bool take_left(const double* x) {
        require_unfinished(!half_done_);
        const double nu = right_.rest();
        const std::size_t j = alpha_.size();
        if (j > 0) beta_.back() *= nu;
        for (const bool imaginary : {false, true}) {  // c = T h
            const std::vector<double>& h = imaginary ? right_.h_imaginary : right_.h;
            std::vector<double>& c = imaginary ? c_imaginary_ : c_;
            for (std::size_t i = 0; i < h.size(); ++i)
                c[i] = alpha_[i] * h[i] + (i + 1 < h.size() ? beta_[i] * h[i + 1] : 0.0);
        }
        const double length = j == 0 ? left_.begin(x) : left_.advance(x, 1.0 / nu, c_, c_imaginary_, beta_.back());
        alpha_.push_back(length);
        scale_ = std::max(scale_, length + (j > 0 ? beta_.back() : 0.0));
        half_done_ = left_.normalize(length, scale_);
        if (half_done_) return true;
        alpha_.back() = 0.0;
        beta_.push_back(0.0);
        right_.finish();
        ended_ = true;
        return false;
    }

    // The second half, with y = B^H q. False where the run has ended: there is no next step.
    bool take_right(const double* y) {
        require_unfinished(half_done_);
        half_done_ = false;
        const double mu = left_.rest();
        const std::size_t j = beta_.size();
        alpha_.back() *= mu;
        for (const bool imaginary : {false, true}) {  // c = T^H e
            const std::vector<double>& e = imaginary ? left_.h_imaginary : left_.h;
            std::vector<double>& c = imaginary ? c_imaginary_ : c_;
            if (imaginary && !left_.sums.is_complex) continue;
            for (std::size_t i = 0; i <= j; ++i)
                c[i] = (i < j ? alpha_[i] * e[i] : 0.0) + (i > 0 ? beta_[i - 1] * e[i - 1] : 0.0);
        }
        const double length = right_.advance(y, 1.0 / mu, c_, c_imaginary_, alpha_.back());
        beta_.push_back(length);
        scale_ = std::max(scale_, alpha_.back() + length);
        const bool more = right_.normalize(length, scale_);
        if (!more) beta_.back() = 0.0;
        ended_ = !more || steps() == most_;
        return !ended_;
    }

    Index steps() const { return static_cast<Index>(beta_.size()); }
    bool ended() const { return ended_; }
    const std::vector<double>& alpha() const { return alpha_; }
    const std::vector<double>& beta() const { return beta_; }

    // |B^H u - T^H ...| for the last left vector: what the spaces leave out.
    double remainder() const { return beta_.empty() ? 0.0 : beta_.back() * right_.rest(); }

private:
    // What rounding leaves of an invariant space, relative to T's largest sum of neighbours: up to 26 eps were seen.
    static constexpr double kRoundingLevel = 48.0 * std::numeric_limits<double>::epsilon();
    static constexpr int kMaxCorrections = 3;

    // The rows of one side, and the candidate for the next of them.
    struct Side {
        Memory memory;
        SweptSums sums;
        Index finished = 0;
        std::vector<double> h, h_imaginary;  // of the candidate
        std::vector<double> d, d_imaginary;
        bool lost = false;  // corrections have left nothing of the candidate

        Side(Memory memory_, Index most, Field field)
            : memory(memory_),
              sums(field == Field::complex ? 2 * memory_.dim : memory_.dim, most + 3, field == Field::complex) {
            d.resize(static_cast<std::size_t>(most) + 3);
            d_imaginary.resize(sums.imaginary.size());
        }

        void forget() {
            finished = 0;
            h.clear();
            h_imaginary.clear();
        }

        // What the finished rows leave of the candidate, whose norm is 1.
        double rest() const {
            double overlap = 0.0;
            for (const double hj : h) overlap += hj * hj;
            for (const double hj : h_imaginary) overlap += hj * hj;
            return std::sqrt(1.0 - overlap);
        }

        Sweep<double> over_rows(const double* z) {
            Sweep<double> sweep;
            sweep.u = sweep.w = memory.candidate;
            sweep.z = z;
            sweep.rows = memory.rows;
            sweep.stride = memory.stride;
            sweep.stored = finished;
            sweep.is_complex = sums.is_complex;
            return sweep;
        }

        double run(const Sweep<double>& sweep) {
            sums.cut(sweep.stored);
            sums.sweep(sweep, kernels().sweep_float64);
            sums.add_chunks(sweep.num_dots());
            sums.split(sweep.num_dots());
            return std::sqrt(sums.dots[static_cast<std::size_t>(sweep.stored + 1)]);
        }

        // The first candidate is z.
        double begin(const double* z) {
            Sweep<double> sweep = over_rows(z);
            sweep.u = z;  // there may be anything where the candidate will be
            sweep.inverse_nu = 0.0;
            return run(sweep);
        }

        // Finishes the candidate, and makes z less the combination c of the rows, times `factor`, and less `beyond`
        // times the new row, the next one. Returns its length.
        double advance(const double* z, double factor, const std::vector<double>& c,
                       const std::vector<double>& c_imaginary, double beyond) {
            const auto r = static_cast<std::size_t>(finished);
            for (std::size_t i = 0; i < r; ++i) d[i] = c[i] * factor;
            for (std::size_t i = 0; sums.is_complex && i < r; ++i) d_imaginary[i] = c_imaginary[i] * factor;
            Sweep<double> sweep = over_rows(z);
            sweep.h = h.data();
            sweep.d = d.data();
            sweep.h_imaginary = h_imaginary.data();
            sweep.d_imaginary = d_imaginary.data();
            sweep.inverse_nu = 1.0 / rest();
            sweep.z_factor = factor;
            sweep.gamma = c[r] * factor + beyond;
            sweep.gamma_imaginary = sums.is_complex ? c_imaginary[r] * factor : 0.0;
            sweep.new_row = memory.rows + finished * memory.stride;
            double length = run(sweep);
            ++finished;
            lost = false;
            for (int corrections = 0; overlap() > 0.5 * length * length && length > 0.0; ++corrections) {
                if (corrections == kMaxCorrections) {
                    lost = true;
                    break;
                }
                length = correct();
            }
            return length;
        }

        // The squared length of what rows have been seen of in the candidate.
        double overlap() const {
            double sum = 0.0;
            for (Index i = 0; i < finished; ++i)
                sum += sums.dots[static_cast<std::size_t>(i)] * sums.dots[static_cast<std::size_t>(i)];
            for (Index i = 0; sums.is_complex && i < finished; ++i)
                sum += sums.imaginary[static_cast<std::size_t>(i)] * sums.imaginary[static_cast<std::size_t>(i)];
            return sum;
        }

        double correct() {
            std::copy_n(sums.dots.begin(), finished, d.begin());
            if (sums.is_complex) std::copy_n(sums.imaginary.begin(), finished, d_imaginary.begin());
            std::vector<double> zeros(static_cast<std::size_t>(finished), 0.0);
            Sweep<double> sweep = over_rows(memory.candidate);
            sweep.h = sweep.h_imaginary = zeros.data();
            sweep.d = d.data();
            sweep.d_imaginary = d_imaginary.data();
            sweep.inverse_nu = 0.0;
            return run(sweep);
        }

        // Makes the candidate a unit vector; false where its length is at the rounding level of `scale`.
        bool normalize(double length, double scale) {
            if (lost || length <= kRoundingLevel * scale) return false;
            h.assign(sums.dots.begin(), sums.dots.begin() + finished);
            for (double& hj : h) hj /= length;
            if (sums.is_complex) h_imaginary.assign(sums.imaginary.begin(), sums.imaginary.begin() + finished);
            for (double& hj : h_imaginary) hj /= length;
            const auto divide = [&](Index chunk) {
                const Index end = sums.tiling.end_column(chunk);
                for (Index i = sums.tiling.first_column(chunk); i < end; ++i) memory.candidate[i] /= length;
            };
            parallel_for(useful_threads(2 * sums.columns), sums.tiling.chunks, divide);
            return true;
        }

        // Finishes the candidate, after which there is none.
        void finish() {
            std::fill(d.begin(), d.end(), 0.0);
            std::fill(d_imaginary.begin(), d_imaginary.end(), 0.0);
            Sweep<double> sweep = over_rows(memory.candidate);
            sweep.h = h.data();
            sweep.d = d.data();
            sweep.h_imaginary = h_imaginary.data();
            sweep.d_imaginary = d_imaginary.data();
            sweep.inverse_nu = 1.0 / rest();
            sweep.new_row = memory.rows + finished * memory.stride;
            run(sweep);
            ++finished;
        }
    };

    void require_unfinished(bool in_turn) const {
        if (ended_ || !in_turn)
            throw std::logic_error("the run takes products with B and its adjoint by turns, to its end");
    }

    Side left_, right_;
    Index most_;
    std::vector<double> alpha_, beta_, c_, c_imaginary_;
    double scale_ = 0.0;
    bool half_done_ = false, ended_ = false;
};

}  // namespace fastlanczos
