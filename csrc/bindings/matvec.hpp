// Operators whose products need no Python: a C function, a dense matrix, a sparse one.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "arguments.hpp"
#include "fastlanczos/matrix.hpp"
#include "fastlanczos/tiling.hpp"

class Matvec {
public:
    explicit Matvec(Index dim, Field field = Field::real) : dim_(dim), is_complex_(field == Field::complex) {
        require(dim >= 1, "the dimension must be at least 1");
    }
    virtual ~Matvec() = default;
    Matvec(const Matvec&) = delete;
    Matvec& operator=(const Matvec&) = delete;

    Index dim() const { return dim_; }
    bool is_complex() const { return is_complex_; }
    Index columns() const { return is_complex_ ? 2 * dim_ : dim_; }  // float64 numbers of a vector

    // What a product reads of the operator, where that is known.
    virtual Index nbytes() const { return 0; }

    // y_c = A x_c for c = 0 .. count - 1, without the GIL.
    virtual void multiply(Index count, const double* const* x, double* const* y,
                          fastlanczos::Interrupt* interrupt) const = 0;

    // The same, and looked[c] an inspection of x_c and y_c with factor[c]: true where that was made on the way.
    virtual bool multiply_and_look(Index count, const double* const* x, double* const* y, const double* /*factor*/,
                                   fastlanczos::Inspection* /*looked*/, fastlanczos::Interrupt* interrupt) const {
        multiply(count, x, y, interrupt);
        return false;
    }

    // Whether x is certain to be left alone. A function of the caller's may write into it in spite of its type.
    virtual bool only_reads() const { return false; }

    // y = a A x + b x + c y; y is not x. `scratch` holds a vector where multiply_add_needs_scratch() says so.
    virtual bool multiply_add_needs_scratch() const { return true; }
    virtual void multiply_add(const double* x, double* y, double a, double b, double c, double* scratch,
                              fastlanczos::Interrupt* interrupt) const {
        multiply(1, &x, &scratch, interrupt);
        const fastlanczos::Tiling tiling(columns(), 0);
        const auto add = [&](Index chunk) {
            const Index first = tiling.first_column(chunk), end = tiling.end_column(chunk);
            if (c == 0.0)  // y may hold anything
                for (Index i = first; i < end; ++i) y[i] = a * scratch[i] + b * x[i];
            else
                for (Index i = first; i < end; ++i) y[i] = a * scratch[i] + b * x[i] + c * y[i];
        };
        fastlanczos::parallel_for(fastlanczos::useful_threads(3 * columns()), tiling.chunks, add);
    }

    // Rows of x -> rows of y, both (count, dim).
    void multiply(const py::array& x, py::array& y) const {
        const Index count = x.shape(0);
        const double* from = block_data(x, count, dim_, is_complex_);
        double* to = writable_block_data(y, count, dim_, is_complex_);
        std::vector<const double*> xs;
        std::vector<double*> ys;
        for (Index c = 0; c < count; ++c) {
            xs.push_back(from + c * columns());
            ys.push_back(to + c * columns());
        }
        py::gil_scoped_release release;
        multiply(count, xs.data(), ys.data(), nullptr);
    }

private:
    Index dim_;
    bool is_complex_;
};

// A C function in a PyCapsule, as scipy.LowLevelCallable makes them: the capsule's context is the user data.
class FunctionMatvec : public Matvec {
public:
    FunctionMatvec(const py::object& capsule, Index dim, bool returns_status, bool takes_data)
        : Matvec(dim), capsule_(capsule), returns_status_(returns_status), takes_data_(takes_data) {
        const char* name = PyCapsule_GetName(capsule.ptr());
        if (PyErr_Occurred()) throw py::error_already_set();
        function_ = PyCapsule_GetPointer(capsule.ptr(), name);
        if (!function_) throw py::error_already_set();
        data_ = PyCapsule_GetContext(capsule.ptr());
        if (PyErr_Occurred()) throw py::error_already_set();
    }

    using Matvec::multiply;
    void multiply(Index count, const double* const* x, double* const* y,
                  fastlanczos::Interrupt* interrupt) const override {
        for (Index c = 0; c < count; ++c) {
            if (const int status = call(x[c], y[c]))
                throw std::runtime_error("the native matvec returned " + std::to_string(status) + ", which is not 0");
            if (interrupt) interrupt->check();
            if (interrupt && interrupt->requested()) return;
        }
    }

private:
    template <class Result, class... Data>
    Result call_as(const double* x, double* y, Data... data) const {
        return reinterpret_cast<Result (*)(Index, const double*, double*, Data...)>(function_)(dim(), x, y, data...);
    }

    int call(const double* x, double* y) const {
        if (returns_status_) return takes_data_ ? call_as<int>(x, y, data_) : call_as<int>(x, y);
        takes_data_ ? call_as<void>(x, y, data_) : call_as<void>(x, y);
        return 0;
    }

    py::object capsule_;
    void *function_ = nullptr, *data_ = nullptr;
    bool returns_status_, takes_data_;
};

// A matrix of the engine's, in memory that a derived class keeps alive.
template <class Matrix>
class MatrixMatvec : public Matvec {
public:
    using Matvec::Matvec;
    using Matvec::multiply;
    void multiply(Index count, const double* const* x, double* const* y,
                  fastlanczos::Interrupt* interrupt) const override {
        fastlanczos::multiply(matrix_, count, x, y, interrupt);
    }
    bool only_reads() const override { return true; }

protected:
    Matrix matrix_;
};

// A (n, n) float64 or float32 array with contiguous rows, which is kept and not copied.
template <class Value>
class DenseMatvec : public MatrixMatvec<fastlanczos::DenseMatrix<Value>> {
    using Base = MatrixMatvec<fastlanczos::DenseMatrix<Value>>;
    using Base::dim, Base::matrix_;

public:
    explicit DenseMatvec(py::array_t<Value> values) : Base(values.shape(0)), values_(std::move(values)) {
        const Index size = sizeof(Value);
        require(values_.ndim() == 2 && values_.shape(1) == dim() && (dim() == 1 || values_.strides(1) == size) &&
                    values_.strides(0) % size == 0,
                "expected a square array with contiguous rows");
        const Value* entries = values_.data();
        const Index stride = values_.strides(0) / size;
        bool flush = false;
        for (Index i = 0; i < dim() && !flush; ++i) flush = fastlanczos::dwarfs_subnormals(entries + i * stride, dim());
        matrix_ = {dim(), entries, stride, flush};
    }

    Index nbytes() const override { return dim() * dim() * Index{sizeof(Value)}; }

private:
    py::array_t<Value> values_;
};

// Returns how many entries three arrays of compressed sparse rows hold, of a matrix with so many columns; throws where
// they are no such matrix.
template <class Value, class Integer>
Index check_sparse(const py::array_t<Value>& values, const py::array_t<Integer>& columns,
                   const py::array_t<Integer>& row_start, Index num_columns) {
    const auto contiguous = [](const py::array& x) {
        return x.ndim() == 1 && (x.size() < 2 || x.strides(0) == x.itemsize());
    };
    require(contiguous(values) && contiguous(columns) && contiguous(row_start) && row_start.size() >= 1,
            "expected contiguous vectors");
    const Integer* start = row_start.data();
    const Index rows = row_start.size() - 1;
    bool valid = start[0] == 0;
    for (Index i = 0; i < rows; ++i) valid = valid && start[i] <= start[i + 1];
    const auto stored = static_cast<Index>(start[rows]);
    require(valid && stored <= values.size() && stored <= columns.size(),
            "the sparse matrix is damaged: its row pointers do not ascend from 0 to the number of entries");
    const Integer* column = columns.data();
    Integer low = 0, high = 0;
    for (Index k = 0; k < stored; ++k) {
        low = std::min(low, column[k]);
        high = std::max(high, column[k]);
    }
    require(low >= 0 && (stored == 0 || static_cast<Index>(high) < num_columns),
            "the sparse matrix is damaged: it has column indices beyond its side");
    return stored;
}

// Compressed sparse rows in three contiguous arrays, which are kept and not copied. Indices out of range are refused.
template <class Value, class Integer>
class SparseMatvec : public MatrixMatvec<fastlanczos::SparseMatrix<Value, Integer>> {
    using Base = MatrixMatvec<fastlanczos::SparseMatrix<Value, Integer>>;
    using Base::dim, Base::matrix_;

public:
    SparseMatvec(py::array_t<Value> values, py::array_t<Integer> columns, py::array_t<Integer> row_start)
        : Base(row_start.size() - 1),
          values_(std::move(values)),
          columns_(std::move(columns)),
          row_start_(std::move(row_start)) {
        const Index stored = check_sparse(values_, columns_, row_start_, dim());
        matrix_ = {dim(), values_.data(), columns_.data(), row_start_.data(), false};
        matrix_.flush = fastlanczos::dwarfs_subnormals(matrix_.values, stored);
    }

    Index nbytes() const override {
        return static_cast<Index>(matrix_.row_start[dim()]) * Index{sizeof(Value) + sizeof(Integer)};
    }

    bool multiply_and_look(Index count, const double* const* x, double* const* y, const double* factor,
                           fastlanczos::Inspection* looked, fastlanczos::Interrupt* interrupt) const override {
        fastlanczos::multiply(matrix_, count, x, y, interrupt, factor, looked);
        return true;
    }

    bool multiply_add_needs_scratch() const override { return false; }
    void multiply_add(const double* x, double* y, double a, double b, double c, double*,
                      fastlanczos::Interrupt* interrupt) const override {
        fastlanczos::multiply_add(matrix_, x, y, a, b, c, interrupt);
    }

private:
    py::array_t<Value> values_;
    py::array_t<Integer> columns_, row_start_;
};

// T_d((A - center) / half_width), a Chebyshev polynomial of degree d in another operator. It is at most 1 within
// half_width of the center and grows as fast as any polynomial of its degree outside. The three-term recurrence
// T_{j+1} = 2 s T_j - T_{j-1} alternates between the result and one vector more.
class ChebyshevMatvec : public Matvec {
public:
    ChebyshevMatvec(py::object matvec, Index degree, double center, double half_width)
        : Matvec(matvec.cast<const Matvec&>().dim(),
                 matvec.cast<const Matvec&>().is_complex() ? Field::complex : Field::real),
          owner_(std::move(matvec)),
          inner_(owner_.cast<const Matvec&>()),
          degree_(degree),
          center_(center),
          half_width_(half_width) {
        require(degree >= 1, "the degree must be positive");
        require(half_width > 0.0, "the interval must have a positive width");
        other_.resize(static_cast<std::size_t>(degree > 1 ? columns() : 0));
        if (inner_.multiply_add_needs_scratch()) scratch_.resize(static_cast<std::size_t>(columns()));
    }

    using Matvec::multiply;
    void multiply(Index count, const double* const* x, double* const* y,
                  fastlanczos::Interrupt* interrupt) const override {
        const double slope = 1.0 / half_width_, shift = -center_ / half_width_;
        for (Index i = 0; i < count; ++i) {
            double *now = y[i], *before = other_.data();
            if (degree_ % 2 == 0) std::swap(now, before);  // the last one goes to y
            inner_.multiply_add(x[i], now, slope, shift, 0.0, scratch_.data(), interrupt);
            if (degree_ > 1) std::copy(x[i], x[i] + columns(), before);
            for (Index j = 1; j < degree_; ++j) {
                if (interrupt) interrupt->check();
                if (interrupt && interrupt->requested()) return;
                inner_.multiply_add(now, before, 2.0 * slope, 2.0 * shift, -1.0, scratch_.data(), interrupt);
                std::swap(now, before);
            }
        }
    }

    Index nbytes() const override { return degree_ * inner_.nbytes(); }
    bool only_reads() const override { return inner_.only_reads(); }

private:
    py::object owner_;
    const Matvec& inner_;
    Index degree_;
    double center_, half_width_;
    mutable std::vector<double> other_, scratch_;
};
