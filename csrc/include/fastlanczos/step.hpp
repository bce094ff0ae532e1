// Lanczos with full reorthogonalization in one sweep over the basis per step, in float64.
//
// State before step k; V holds the finished rows v_0 .. v_{k-1}, orthonormal to rounding:
//     u    unit candidate for v_k, not yet orthogonalized a second time          (n)
//     h    V_{<k} u, exact to rounding for the u that is stored                  (k)
//     z    A u, the only product of the step                                     (n)
// Scalars first, from one pass over u and z; T is the tridiagonal so far and b = beta_{k-1} nu its last off-diagonal:
//     nu    = sqrt(1 - h.h)
//     c     = T h                             A V_{<k}^T h = V_{<k}^T c + b h_{k-1} v_k
//     alpha = (u.z - 2 nu b h_{k-1} - h.c) / nu^2         v_k . A v_k to rounding, known before the sweep
// then one sweep over V, in which each tile comes from memory once and is used twice while it is in cache:
//     v_k   = (u - V_{<k}^T h) / nu
//     w     = (z - V_{<k}^T c - b h_{k-1} v_k) / nu - alpha v_k - b v_{k-1}
//     g     = V_{<=k} w,    beta_k^2 = w.w
// and for the next step  u = w / beta_k,  h = g / beta_k,  alpha_k = alpha + g_k.
// Delaying the correction of v_k by one step is due to Bielich et al., "Low-synch Gram-Schmidt with delayed
// reorthogonalization and applications to Krylov solvers" (arXiv 2104.01253). The dot products here are taken with w,
// whose norm is beta_k, and not with A v_k, whose norm is |A|: h stays good to rounding when beta_k << |A|.
//
// Safeguards. When h is not small (w lay mostly in the span of V) the candidate is swept again before its product.
// When that leaves nothing, or beta_k is at the rounding level of |T|, the Krylov space is invariant: breakdown. Powers
// of two are taken out of A where its entries are beyond 2^100 or below 2^-100, so that no square overflows.
//
// Memory traffic of step k: k rows of V once (from memory), one row written; u and z read twice (once where the product
// was looked at as it came), u written twice (and its copy once). Without a basis v_k is u as it is, and w is written
// where v_{k-1} was: the two change places.
//
// Thick restart (Wu and Simon, SIAM J. Matrix Anal. Appl. 22, 2000). `restart` replaces the rows by l combinations of
// them, Ritz vectors as a rule. T then begins with their values on its diagonal, and the next row couples to all of
// them: A V^T = V^T T + v_l s^T. It is the same step, with s.h in place of b h_{k-1} and V^T s in place of b v_{k-1};
// after it T is tridiagonal again. `renew` takes a new candidate, for a space that is invariant or to look for what
// one start vector does not show.
//
// Complex Hermitian operators. T is real, alpha and beta as above, and so is everything that is known of it; h, c, g
// and what v_k gets back of b h_{k-1} are complex, u.z and h.c the real parts of products with the first factor
// conjugated. Vectors are pairs of real columns (Sweep in kernels/dispatch.hpp): the rows are read as those of a real
// run of twice the dimension, once, and each takes twice the arithmetic. Without a basis all coefficients are real.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <stdexcept>
#include <vector>

#include "rotation.hpp"
#include "swept_sums.hpp"

namespace fastlanczos {

// What is kept of the basis: nothing (the three-term recurrence alone), or its rows in either precision. With float32
// rows all arithmetic stays in float64, and so do the two newest rows.
enum class Basis { none, float32, float64 };

enum class Outcome { running, complete, breakdown, not_finite, interrupted };

// The caller's memory. `basis`: max_steps rows of n entries, `stride` entries apart, of the type that Basis names (may
// be null for none). `candidate`: n float64. `recent`: 2 n float64 for float32 rows, n for none, unused for float64.
// `vector`: null, or n float64 that get a copy of the candidate, for operators that may write into their argument.
// A complex entry counts as two, real part first.
struct Memory {
    void* basis = nullptr;
    Index stride = 0;
    double* candidate = nullptr;
    double* recent = nullptr;
    double* vector = nullptr;
};

// Everything of a run that is not in Memory: with both, a run can be stopped and taken up again to the same bits.
struct State {
    Index steps = 0;   // k, the finished rows
    Index sweeps = 0;  // sweeps over the basis so far (steps, plus repeated corrections)
    int exponent = 0;  // alpha, beta, scale and max_projection are in units of 2^exponent
    bool breakdown = false;
    double scale = 0.0;               // largest absolute row sum of T
    double max_projection = 0.0;      // largest |v_j . w| over j < k: zero in exact arithmetic for a symmetric A
    std::vector<double> alpha;        // (k)
    std::vector<double> beta;         // (k), the last one the norm of what is left
    std::vector<double> h;            // (k); without a basis only v_{k-2}.u and v_{k-1}.u, which nothing corrects
    std::vector<double> h_imaginary;  // as h, where vectors are complex
    Index combined = 0;               // l, the rows that the last restart left
    std::vector<double> coupling;     // (l), row l of T beside its diagonal
};

// A run whose columns are shared out: each rank has its own of the basis and of every vector, and in a step they tell
// one another twice a few numbers, first what the product looks like and then the dot products. `gather` puts `count`
// numbers of every rank, in the ranks' order, into `all`. They are added in this order, so that every rank has the same
// T to the last bit, and decides alike. A gather that throws ends the run; the finished steps are as good as ever.
struct Sharing {
    Index dim = 0;  // of all ranks together
    Index ranks = 1;
    std::function<void(const double* mine, Index count, double* all)> gather;
};

class Lanczos {
public:
    // `dim` entries here, of `sharing.dim` where there are other ranks.
    Lanczos(Index dim, Index max_steps, Basis basis, Memory memory, Sharing sharing = {}, Field field = Field::real)
        : dim_(dim),
          columns_(field == Field::complex ? 2 * dim : dim),
          is_complex_(field == Field::complex),
          whole_dim_(sharing.gather ? sharing.dim : dim),
          max_steps_(std::min(whole_dim_, max_steps)),
          basis_(basis),
          memory_(memory),
          sharing_(std::move(sharing)) {
        if (whole_dim_ < 1 || dim < 0 || max_steps < 1)
            throw std::invalid_argument("dim and max_steps must be at least 1");
        const Index most = (basis == Basis::none ? 1 : max_steps_) + 4;
        sums_ = SweptSums(columns_, most, is_complex_);
        for (std::vector<double>* real : {&coefficients_, &subtrahend_}) real->resize(static_cast<std::size_t>(most));
        for (std::vector<double>* imaginary : {&coefficients_imaginary_, &subtrahend_imaginary_})
            imaginary->resize(sums_.imaginary.size());
        go_home();
    }

    // Begins a run from v0 / |v0|. False, and nothing changed, when v0 is zero or not finite.
    bool start(const double* v0) {
        sums_.cut(0);
        inspections_.resize(static_cast<std::size_t>(sums_.tiling.chunks));
        go_home();
        double* u = candidate_;
        inspect_columns(v0, v0, 1.0);
        if (!(total_.poison == 0.0) || total_.max == 0.0) return false;
        const double factor = std::ldexp(1.0, -clamped_exponent(total_.max));
        over_columns([&](Index first, Index end) {
            for (Index i = first; i < end; ++i) u[i] = factor * v0[i];
        });
        inspect_columns(u, u, 1.0);
        const double norm = std::sqrt(total_.dot);
        over_columns([&](Index first, Index end) {
            for (Index i = first; i < end; ++i) u[i] /= norm;
            if (memory_.vector) std::copy(u + first, u + end, memory_.vector + first);
        });
        state_ = State();
        sweep_seconds_ = 0.0;
        interrupted_ = false;
        const auto most = static_cast<std::size_t>(std::min<Index>(max_steps_, 4096));
        for (std::vector<double>* scalars : {&state_.alpha, &state_.beta, &state_.h}) scalars->reserve(most);
        if (is_complex_) state_.h_imaginary.reserve(most);
        return true;
    }

    // Advances by one step with z = A u, u = vector(). `not_finite` leaves the run as it was. `interrupted` ends it:
    // the finished steps are as good as ever, but the candidate is lost. `looked` is what an inspection of u and z with
    // factor() has found, where one was made already.
    Outcome step(const double* z, Interrupt* interrupt = nullptr, const Inspection* looked = nullptr) {
        if (finished()) throw std::logic_error("the run is finished: it takes no further product");
        const Index k = state_.steps;
        interrupt_ = interrupt;
        sums_.cut(basis_ == Basis::none ? 1 : k);
        inspections_.resize(static_cast<std::size_t>(sums_.tiling.chunks));
        if (looked) {
            total_ = *looked;
            share_inspection();
        } else {
            inspect_columns(candidate_, z, factor());
        }
        while (!prepare_scale()) inspect_columns(candidate_, z, factor());
        if (!(total_.poison == 0.0)) return Outcome::not_finite;
        prepare_sweep(z);
        bool again = sweep();
        if (basis_ == Basis::none) std::swap(candidate_, recent_);
        try {
            again = again && take_dots(k);
            while (again) {  // the candidate again, before its product
                prepare_correction();
                again = sweep() && take_correction();
            }
        } catch (...) {  // another rank does not answer
            interrupted_ = true;
            throw;
        }
        if (interrupted_) return Outcome::interrupted;
        normalize();
        if (finished()) leave_pool();
        if (state_.breakdown) return Outcome::breakdown;
        return finished() ? Outcome::complete : Outcome::running;
    }

    // Replaces the k rows by l <= k combinations of them, sum_j rotation[i * k + j] v_j for row i, in place; corrects
    // the candidate against all k rows. `theta` becomes the diagonal of T, `coupling` what A leaves of each row along
    // the candidate, and `scale` what counts as |T|, all in units of 2^exponent. They may belong to another operator
    // than the steps so far.
    void restart(Index l, const double* rotation, const double* theta, const double* coupling, double scale,
                 int exponent) {
        const Index k = state_.steps;
        if (basis_ != Basis::float64 || is_complex_)
            throw std::logic_error("only a real basis in float64 can be restarted");
        if (l < 0 || l > k || l >= max_steps_) throw std::invalid_argument("a restart keeps fewer rows than there are");
        state_.h.resize(static_cast<std::size_t>(k), 0.0);
        sums_.dots[static_cast<std::size_t>(l)] =
            rotate_rows(static_cast<double*>(memory_.basis), memory_.stride, dim_, k, l, rotation, state_.h.data(),
                        candidate_, sums_.dots.data());
        share(sums_.dots.data(), l + 1);
        const double norm2 = sums_.dots[static_cast<std::size_t>(l)];
        const auto kept = static_cast<std::size_t>(l);
        state_.steps = state_.combined = l;
        state_.alpha.assign(theta, theta + l);
        state_.beta.assign(kept, 0.0);
        state_.coupling.assign(coupling, coupling + l);
        state_.scale = scale;
        state_.exponent = exponent;
        state_.h.assign(sums_.dots.begin(), sums_.dots.begin() + l);
        interrupted_ = false;
        if (state_.breakdown) return;  // there is no candidate: renew() finds one
        inverse_beta_ = 1.0 / std::sqrt(norm2);
        for (double& hj : state_.h) hj *= inverse_beta_;
        normalize();
    }

    // Takes v, orthogonalized against all rows, as the candidate, which nothing in T couples to them. False where
    // nothing is left of v: then the rows span the space (or v was unlucky), and the run is as after a breakdown.
    bool renew(const double* v) {
        const Index k = state_.steps;
        if (basis_ != Basis::float64 || is_complex_)
            throw std::logic_error("only a real basis in float64 can be renewed");
        if (k >= max_steps_) throw std::invalid_argument("there is no room for another row");
        if (k > 0) state_.beta.back() = 0.0;
        if (k == state_.combined) std::fill(state_.coupling.begin(), state_.coupling.end(), 0.0);
        state_.breakdown = true;
        interrupted_ = false;
        interrupt_ = nullptr;
        sums_.cut(k);
        inspections_.resize(static_cast<std::size_t>(sums_.tiling.chunks));
        inspect_columns(v, v, 1.0);
        if (!(total_.poison == 0.0) || total_.max == 0.0) return false;
        const double factor = std::ldexp(1.0, -clamped_exponent(total_.max));
        for (Index i = 0; i < dim_; ++i) candidate_[i] = factor * v[i];
        std::fill(sums_.dots.begin(), sums_.dots.end(), 0.0);
        double norm = 0.0, before = 0.0;
        for (int pass = 0; pass < 2 + kMaxCorrections; ++pass, before = norm) {
            prepare_correction();
            if (!sweep()) return false;
            total_dots(k + 2);
            norm = std::sqrt(sums_.dots[static_cast<std::size_t>(k + 1)]);
            if (pass > 0 && norm > 0.5 * before) break;
        }
        if (!(norm > 64.0 * kEpsilon * std::sqrt(static_cast<double>(whole_dim_)))) return false;
        inverse_beta_ = 1.0 / norm;
        state_.h.assign(sums_.dots.begin(), sums_.dots.begin() + k);
        for (double& hj : state_.h) hj *= inverse_beta_;
        state_.breakdown = false;
        normalize();
        return true;
    }

    // The unit vector whose product with A the next step takes.
    const double* vector() const { return memory_.vector ? memory_.vector : candidate_; }

    // The same where it is computed: only to be read, and elsewhere after each step.
    const double* candidate() const { return candidate_; }

    // Whether Memory::vector is kept up to date, which whoever reads candidate() can do without.
    void hand_out(bool on) {
        handing_out_ = on;
        if (on && memory_.vector && !finished()) std::copy(candidate_, candidate_ + columns_, memory_.vector);
    }

    // Puts the candidate and the recent row where Memory says.
    void settle() {
        if (candidate_ == memory_.candidate) return;
        std::swap_ranges(candidate_, candidate_ + columns_, recent_);
        go_home();
    }

    bool finished() const { return state_.breakdown || interrupted_ || state_.steps == max_steps_; }
    bool interrupted() const { return interrupted_; }

    double alpha(Index k) const { return std::ldexp(state_.alpha[static_cast<std::size_t>(k)], state_.exponent); }
    double beta(Index k) const { return std::ldexp(state_.beta[static_cast<std::size_t>(k)], state_.exponent); }

    // |A V^T e - V^T T e| for the last unit vector e: the norm of what the Krylov space leaves out.
    double residual_norm() const { return std::ldexp(remainder(), state_.exponent); }

    // The same in units of 2^exponent().
    double remainder() const { return state_.steps == 0 ? 0.0 : state_.beta.back() * std::sqrt(1.0 - overlap()); }

    double max_projection() const { return std::ldexp(state_.max_projection, state_.exponent); }

    // T is kept in units of 2^exponent.
    int exponent() const { return state_.exponent; }
    double factor() const { return factor_of(state_.exponent); }

    // Wall time of all sweeps since the last start().
    double sweep_seconds() const { return sweep_seconds_; }

    Index dim() const { return dim_; }
    Index columns() const { return columns_; }  // float64 numbers of a vector
    bool is_complex() const { return is_complex_; }
    Index whole_dim() const { return whole_dim_; }
    bool is_shared() const { return static_cast<bool>(sharing_.gather); }
    Index max_steps() const { return max_steps_; }
    Basis basis() const { return basis_; }
    const Memory& memory() const { return memory_; }
    const State& state() const { return state_; }

    // Takes up a run whose rows, candidate and recent rows the caller has put back into Memory.
    void restore(State state) {
        const auto k = static_cast<std::size_t>(state.steps);
        if (state.steps < 0 || state.steps > max_steps_ || state.alpha.size() != k || state.beta.size() != k ||
            (!state.breakdown && state.h.size() != (basis_ == Basis::none ? std::min<std::size_t>(k, 2) : k)) ||
            state.h_imaginary.size() != (is_complex_ ? state.h.size() : 0))
            throw std::invalid_argument("the state does not belong to a run of this size");
        state_ = std::move(state);
        interrupted_ = false;
        go_home();
    }

private:
    static constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
    // What a product's own rounding leaves of an invariant space, relative to |T|: up to 20 eps were measured for dense
    // matrices of 2,000 rows with few distinct eigenvalues.
    static constexpr double kRoundingLevel = 32.0 * kEpsilon;
    // |h|^2 beyond which float32 rows call for another correction: the error that is left in T grows with it (on
    // Strakos' spectrum, 200 steps, 2e-11 of the norm for 1e-4, 9e-14 for 1e-6), and so does the number of sweeps that
    // it saves.
    static constexpr double kUnsafeFloat32 = 1e-6;
    static constexpr int kMaxCorrections = 3;

    static double square(const std::vector<double>& x) {
        double sum = 0.0;
        for (const double xi : x) sum += xi * xi;
        return sum;
    }

    // |V u|^2: the part of the candidate that the next sweep takes away.
    double overlap() const { return basis_ == Basis::none ? 0.0 : square(state_.h) + square(state_.h_imaginary); }

    void go_home() {
        candidate_ = memory_.candidate;
        recent_ = memory_.recent;
    }

    static int clamped_exponent(double x) { return std::max(-1000, std::min(1000, std::ilogb(x))); }
    static double factor_of(int exponent) { return std::ldexp(1.0, -exponent); }

    void inspect_columns(const double* u, const double* z, double factor) {
        const auto inspect = [&](Index chunk) {
            Inspection sums;
            const Index first = sums_.tiling.first_column(chunk);
            kernels().inspect(u + first, z + first, factor, sums_.tiling.end_column(chunk) - first, sums);
            inspections_[static_cast<std::size_t>(chunk)] = sums;
        };
        parallel_for(useful_threads(2 * columns_), sums_.tiling.chunks, inspect);
        total_inspections();
    }

    // work(first, end) for the columns of every chunk, in the pool's threads.
    template <class Work>
    void over_columns(const Work& work) {
        const auto chunk_of = [&](Index chunk) {
            work(sums_.tiling.first_column(chunk), sums_.tiling.end_column(chunk));
        };
        parallel_for(useful_threads(2 * columns_), sums_.tiling.chunks, chunk_of);
    }

    void total_inspections() {
        total_ = Inspection();
        for (const Inspection& part : inspections_) total_.add(part);
        share_inspection();
    }

    // The sums of all ranks in the place of this one's.
    void share(double* sums, Index count) {
        if (!sharing_.gather) return;
        gathered_.resize(static_cast<std::size_t>(sharing_.ranks * count));
        sharing_.gather(sums, count, gathered_.data());
        std::fill(sums, sums + count, 0.0);
        for (Index rank = 0; rank < sharing_.ranks; ++rank)
            for (Index j = 0; j < count; ++j) sums[j] += gathered_[static_cast<std::size_t>(rank * count + j)];
    }

    void share_inspection() {
        if (!sharing_.gather) return;
        const double mine[3] = {total_.dot, total_.max, total_.poison};
        gathered_.resize(static_cast<std::size_t>(sharing_.ranks * 3));
        sharing_.gather(mine, 3, gathered_.data());
        total_ = Inspection();
        for (Index rank = 0; rank < sharing_.ranks; ++rank) {
            const double* theirs = gathered_.data() + 3 * rank;
            Inspection part;
            part.dot = theirs[0];
            part.max = theirs[1];
            part.poison = theirs[2];
            total_.add(part);
        }
    }

    // True when the products are in a range whose squares are safe. Otherwise takes a power of two out of everything
    // and returns false: the inspection is then repeated in the new unit.
    bool prepare_scale() {
        if (!(total_.poison == 0.0) || total_.max == 0.0) return true;
        const int above = clamped_exponent(total_.max) - state_.exponent;
        if (above <= 100 && (state_.steps > 0 || above >= -100)) return true;
        const double change = std::ldexp(1.0, -above);
        for (double& a : state_.alpha) a *= change;
        for (double& b : state_.beta) b *= change;
        for (double& s : state_.coupling) s *= change;
        state_.scale *= change;
        state_.max_projection *= change;
        state_.exponent += above;
        return false;
    }

    // The rows that are swept: all finished ones. Sets where the new row goes when there is one.
    template <class Row>
    void set_rows(Sweep<Row>& sweep, Index finished, bool new_row) {
        Row* rows = static_cast<Row*>(memory_.basis);
        sweep = Sweep<Row>();
        sweep.u = sweep.w = candidate_;
        sweep.h = coefficients_.data();
        sweep.d = subtrahend_.data();
        sweep.rows = rows;
        sweep.stride = memory_.stride;
        sweep.is_complex = is_complex_;
        sweep.h_imaginary = coefficients_imaginary_.data();
        sweep.d_imaginary = subtrahend_imaginary_.data();
        const Index kept = basis_ == Basis::none ? 1 : basis_ == Basis::float32 ? 2 : 0;
        sweep.num_recent = std::min(kept, finished);
        sweep.stored = basis_ == Basis::none ? 0 : finished - sweep.num_recent;
        for (Index r = 0; r < sweep.num_recent; ++r) sweep.recent[r] = recent_row(finished - sweep.num_recent + r);
        if (!new_row) return;
        if (basis_ == Basis::none) {
            sweep.is_recurrence = true;
            sweep.w = recent_;
            return;
        }
        sweep.new_row = rows + finished * memory_.stride;
        if (kept > 0) sweep.new_recent = recent_row(finished);
    }

    double* recent_row(Index row) { return basis_ == Basis::none ? recent_ : recent_ + (row % 2) * columns_; }

    void set_rows(Index finished, bool new_row) {
        if (basis_ == Basis::float32)
            set_rows(sweep32_, finished, new_row);
        else
            set_rows(sweep64_, finished, new_row);
    }

    template <class Set>
    void set_factors(const Set& set) {
        if (basis_ == Basis::float32)
            set(sweep32_);
        else
            set(sweep64_);
    }

    // The scalars that precede a sweep: alpha, and the coefficients of every row in v_k and in w.
    void prepare_sweep(const double* z) {
        const auto k = static_cast<std::size_t>(state_.steps);
        const std::vector<double>& h = state_.h;
        const std::vector<double>&alpha = state_.alpha, &beta = state_.beta;
        const bool delayed = basis_ != Basis::none && k > 0;
        const double nu2 = 1.0 - overlap(), nu = std::sqrt(nu2);
        beta_ = k > 0 ? beta[k - 1] * nu : 0.0;  // of w = beta u only nu v_k is new: the rest lies in the span
        const auto l = static_cast<std::size_t>(state_.combined);
        std::vector<double>& s = state_.coupling;
        double coupling_h = 0.0;  // s.h, after a restart only
        if (l > 0 && k == l)
            for (double& sj : s) sj *= nu;
        for (std::size_t j = 0; j < l; ++j) coupling_h += s[j] * h[j];
        const double b = beta_, b_h = delayed ? b * h[k - 1] + (k == l ? coupling_h : 0.0) : 0.0;
        const double b_h_imaginary = delayed && is_complex_ ? b * state_.h_imaginary[k - 1] : 0.0;
        const auto tridiagonal_times = [&](const std::vector<double>& x, std::size_t j) {
            double y = alpha[j] * x[j];
            if (j > 0) y += beta[j - 1] * x[j - 1];
            if (j + 1 < k) y += beta[j] * x[j + 1];
            return y;
        };

        double h_c = 0.0;
        if (delayed)
            for (std::size_t j = 0; j < k; ++j) {
                double c = tridiagonal_times(h, j);
                if (k > l && j < l) c += s[j] * h[l];
                if (l > 0 && j == l) c += coupling_h;
                h_c += h[j] * c;
                coefficients_[j] = h[j];
                subtrahend_[j] = c / nu;
            }
        else
            coefficients_[0] = subtrahend_[0] = 0.0;
        for (std::size_t j = 0; delayed && is_complex_ && j < k; ++j) {
            const double hj = state_.h_imaginary[j], c = tridiagonal_times(state_.h_imaginary, j);
            h_c += hj * c;
            coefficients_imaginary_[j] = hj;
            subtrahend_imaginary_[j] = c / nu;
        }
        if (k > 0) subtrahend_[delayed ? k - 1 : 0] += b;
        if (k == l)
            for (std::size_t j = 0; j < l; ++j) subtrahend_[j] += s[j];

        alpha_ = (total_.dot - 2.0 * nu * b_h - h_c) / nu2;
        set_rows(state_.steps, true);
        set_factors([&](auto& sweep) {
            sweep.z = z;
            sweep.z_factor = factor_of(state_.exponent) / nu;
            sweep.inverse_nu = 1.0 / nu;
            sweep.gamma = alpha_ + b_h / nu;
            sweep.gamma_imaginary = b_h_imaginary / nu;
        });
    }

    void prepare_correction() {
        std::fill(coefficients_.begin(), coefficients_.end(), 0.0);
        std::copy_n(sums_.dots.begin(), subtrahend_.size(), subtrahend_.begin());
        std::fill(coefficients_imaginary_.begin(), coefficients_imaginary_.end(), 0.0);
        std::copy_n(sums_.imaginary.begin(), subtrahend_imaginary_.size(), subtrahend_imaginary_.begin());
        set_rows(state_.steps, false);
        set_factors([&](auto& sweep) {
            sweep.z = candidate_;
            sweep.inverse_nu = 0.0;
        });
    }

    // False where an interrupt has ended it.
    bool sweep() {
        const auto began = std::chrono::steady_clock::now();
        if (basis_ == Basis::float32)
            sums_.sweep(sweep32_, kernels().sweep_float32, interrupt_);
        else
            sums_.sweep(sweep64_, kernels().sweep_float64, interrupt_);
        sweep_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
        interrupted_ = interrupt_ && interrupt_->requested();
        return !interrupted_;
    }

    void total_dots(Index count) {
        sums_.add_chunks(count);
        share(sums_.dots.data(), sums_.sums_of(count));
        sums_.split(count);
    }

    // After the sweep of step k: books the new row of T. True when the candidate needs another correction.
    bool take_dots(Index k) {
        const Index rows = basis_ == Basis::none ? std::min<Index>(k, 1) : k;
        total_dots(rows + 2);
        if (k > 0) state_.beta.back() = beta_;
        const double beta = std::sqrt(sums_.dots[static_cast<std::size_t>(rows + 1)]);
        state_.alpha.push_back(alpha_ + sums_.dots[static_cast<std::size_t>(rows)]);
        state_.beta.push_back(beta);
        double row = std::abs(state_.alpha.back()) + beta_ + beta;
        if (k == state_.combined)
            for (const double s : state_.coupling) row += std::abs(s);
        state_.scale = std::max(state_.scale, row);
        note_projections(rows);
        ++state_.steps;
        ++state_.sweeps;
        corrections_ = 0;
        return judge(rows + 1);
    }

    // What is left of the finished rows in w, which is nothing for a symmetric operator, and of an imaginary alpha.
    void note_projections(Index rows) {
        const double expected = expected_projection(state_.h);
        const double expected_imaginary = is_complex_ ? expected_projection(state_.h_imaginary) : 0.0;
        for (Index j = 0; j < rows + is_complex_; ++j) {
            const auto at = static_cast<std::size_t>(j);
            double projection = j < rows ? std::abs(sums_.dots[at] - expected) : 0.0;
            if (is_complex_)
                projection = std::hypot(projection, sums_.imaginary[at] - (j < rows ? expected_imaginary : 0.0));
            state_.max_projection = std::max(state_.max_projection, projection);
        }
    }

    // v_{k-1} . w, which vanishes for a symmetric operator and an orthonormal basis. Without a basis v_k keeps small
    // parts of v_{k-1} and v_{k-2}, which show in it through the two rows of T that are known.
    double expected_projection(const std::vector<double>& h) const {
        const std::size_t k = state_.alpha.size() - 1;
        if (basis_ != Basis::none || k == 0) return 0.0;
        const double further = k > 1 ? state_.beta[k - 2] * h[0] : 0.0;
        return (state_.alpha[k - 1] - alpha_) * h.back() + further;
    }

    bool take_correction() {
        const Index rows = state_.steps;
        total_dots(rows + 2);
        state_.beta.back() = std::sqrt(sums_.dots[static_cast<std::size_t>(rows + 1)]);
        ++state_.sweeps;
        ++corrections_;
        return judge(rows);
    }

    // Breakdown, a further correction (true), or h for the next step from the dot products with `rows` rows.
    bool judge(Index rows) {
        const double beta = state_.beta.back();
        state_.h.clear();
        state_.h_imaginary.clear();
        inverse_beta_ = 0.0;
        state_.breakdown = beta <= kRoundingLevel * state_.scale || state_.steps == whole_dim_;
        if (state_.breakdown) return false;
        inverse_beta_ = 1.0 / beta;
        for (Index j = 0; j < rows; ++j) state_.h.push_back(sums_.dots[static_cast<std::size_t>(j)] / beta);
        for (Index j = 0; is_complex_ && j < rows; ++j)
            state_.h_imaginary.push_back(sums_.imaginary[static_cast<std::size_t>(j)] / beta);
        if (basis_ == Basis::none) return false;
        const double unsafe = basis_ == Basis::float32 ? kUnsafeFloat32 : 0.5;
        if (overlap() <= unsafe) return false;
        if (corrections_ < kMaxCorrections) return true;
        state_.breakdown = true;  // three corrections left nothing that is orthogonal to the basis
        inverse_beta_ = 0.0;
        state_.h.clear();
        state_.h_imaginary.clear();
        return false;
    }

    void normalize() {
        const auto scale = [&](Index chunk) {
            const Index first = sums_.tiling.first_column(chunk), end = sums_.tiling.end_column(chunk);
            double* u = candidate_;
            for (Index i = first; i < end; ++i) u[i] *= inverse_beta_;
            if (memory_.vector && handing_out_) std::copy(u + first, u + end, memory_.vector + first);
        };
        parallel_for(useful_threads(3 * columns_), sums_.tiling.chunks, scale);
    }

    Index dim_, columns_;
    bool is_complex_;
    Index whole_dim_, max_steps_;
    Basis basis_;
    Memory memory_;
    Sharing sharing_;
    std::vector<double> gathered_;
    double *candidate_ = nullptr, *recent_ = nullptr;  // which change places without a basis
    bool handing_out_ = true;
    State state_;

    // Of the step in progress.
    SweptSums sums_{0, 0, false};
    std::vector<Inspection> inspections_;
    Inspection total_;
    std::vector<double> coefficients_, subtrahend_;
    std::vector<double> coefficients_imaginary_, subtrahend_imaginary_;  // of complex vectors
    Sweep<double> sweep64_;
    Sweep<float> sweep32_;
    double alpha_ = 0.0, beta_ = 0.0, inverse_beta_ = 0.0;
    int corrections_ = 0;
    double sweep_seconds_ = 0.0;
    Interrupt* interrupt_ = nullptr;
    bool interrupted_ = false;
};

}  // namespace fastlanczos
