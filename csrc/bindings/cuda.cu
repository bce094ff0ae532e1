// fastlanczos._cuda: the CUDA kernels as a Python module. All memory is the caller's; a run keeps the arrays alive.
//
// Built by nvcc, with the runtime linked statically, so that it imports where there is no driver; and by an ordinary
// compiler on the emulation in tests/csrc/cuda_emulation.
#include "device_run.hpp"
#include "fastlanczos/cuda/tridiagonal.cuh"
#include "flat_device.hpp"

namespace {

const double* batch_of(const DeviceArray& x, long long count, long long m) {
    require(x.entry == Entry::float64 && x.contiguous() && x.size() == count * m, "expected contiguous float64 arrays");
    return static_cast<const double*>(x.data);
}

// alpha (count, m), beta (count, m - 1) -> nodes, weights (count, m), failed (count) int32; workspace (3 count m).
void quadrature(Index count, Index m, const py::object& alpha, const py::object& beta, const py::object& nodes,
                const py::object& weights, const py::object& workspace, const py::object& failed,
                std::uintptr_t stream) {
    const DeviceArray a = device_array(alpha, stream), x = device_array(nodes, stream),
                      f = device_array(failed, stream);
    const auto written = [](const double* memory) { return const_cast<double*>(memory); };
    const double* b = m > 1 ? batch_of(device_array(beta, stream), count, m - 1) : nullptr;
    require(f.entry == Entry::int32 && f.contiguous() && f.size() == count, "expected an int32 for each matrix");
    const OnDevice on(a.device);
    checked(gpu::launch_quadrature(count, m, batch_of(a, count, m), b, written(batch_of(x, count, m)),
                                   written(batch_of(device_array(weights, stream), count, m)),
                                   written(batch_of(device_array(workspace, stream), count, 3 * m)),
                                   static_cast<int*>(f.data), stream_of(stream)),
            "launching the quadrature");
}

// A complex vector counts as one of twice as many numbers where that makes no difference.
const double* parts_of(const DeviceArray& x, long long n) {
    require((x.entry == Entry::float64 || x.entry == Entry::complex128) && x.contiguous() &&
                x.size() * x.itemsize() == 8 * n,
            "expected contiguous vectors of float64 or complex128");
    return static_cast<const double*>(x.data);
}

// y = sum of factors[i] x[i], up to four vectors; y may be one of them.
void combine_vectors(const py::object& y, const std::vector<double>& factors, const std::vector<py::object>& x,
                     std::uintptr_t stream) {
    const DeviceArray out = device_array(y, stream);
    const Index n = out.size() * out.itemsize() / 8;
    require(factors.size() == x.size() && x.size() <= gpu::kMaxTerms, "expected up to four vectors and their factors");
    gpu::Terms terms;
    for (std::size_t i = 0; i < x.size(); ++i) {
        terms.x[i] = parts_of(device_array(x[i], stream), n);
        terms.factors[i] = factors[i];
        ++terms.count;
    }
    const OnDevice on(out.device);
    checked(launch_vectors(&gpu::terms_kernel, vector_blocks(out.device, n), stream_of(stream), terms, n,
                           const_cast<double*>(parts_of(out, n))),
            "combining vectors");
}

// Rows (count, n), float64, float32 or complex128, with a stride.
struct RowsOnDevice {
    DeviceArray array;
    Index count, n, stride;
};

RowsOnDevice rows_of(const py::object& rows, std::uintptr_t stream) {
    RowsOnDevice r{device_array(rows, stream), 1, 0, 0};
    const auto& shape = r.array.shape;
    require(
        (r.array.entry == Entry::float64 || r.array.entry == Entry::float32 || r.array.entry == Entry::complex128) &&
            (shape.size() == 1 || shape.size() == 2) && (shape.back() <= 1 || r.array.strides.back() == 1),
        "expected rows of float64, float32 or complex128");
    r.n = shape.back();
    r.count = shape.size() == 2 ? shape[0] : 1;
    r.stride = shape.size() == 2 ? r.array.strides[0] : r.n;
    return r;
}

// A vector of what is computed in with rows of type Value.
template <class Value>
gpu::Wide<Value>* entries_of(const DeviceArray& x, long long n) {
    require(x.entry == (sizeof(gpu::Wide<Value>) == 16 ? Entry::complex128 : Entry::float64) && x.contiguous() &&
                x.size() == n,
            "expected contiguous vectors, complex where the rows are and float64 otherwise");
    return static_cast<gpu::Wide<Value>*>(x.data);
}

// work(const Value*) for the type of the rows.
template <class Work>
auto with_rows(const RowsOnDevice& r, const Work& work) {
    if (r.array.entry == Entry::float32) return work(static_cast<float*>(r.array.data));
    if (r.array.entry == Entry::complex128) return work(static_cast<gpu::Complex*>(r.array.data));
    return work(static_cast<double*>(r.array.data));
}

// y = start + sum of weights[j] row j; the weights are on the device, and `start` may be None.
void combine_rows(const py::object& rows, const py::object& weights, const py::object& start, const py::object& y,
                  std::uintptr_t stream) {
    const RowsOnDevice r = rows_of(rows, stream);
    const OnDevice on(r.array.device);
    const int blocks = vector_blocks(r.array.device, r.n);
    with_rows(r, [&](auto* values) {
        using Value = std::remove_pointer_t<decltype(values)>;
        const gpu::Wide<Value>* w = entries_of<Value>(device_array(weights, stream), r.count);
        const gpu::Wide<Value>* from = start.is_none() ? nullptr : entries_of<Value>(device_array(start, stream), r.n);
        checked(launch_vectors(&gpu::combine_kernel<Value>, blocks, stream_of(stream), values, r.stride, r.count, w,
                               from, r.n, entries_of<Value>(device_array(y, stream), r.n)),
                "combining rows");
    });
}

// factor * z times each row, conjugated if complex, on the host; `partial` is on the device and of z's type,
// count * vector_blocks() entries.
py::object inner(const py::object& rows, const py::object& z, double factor, const py::object& partial,
                 std::uintptr_t stream) {
    const RowsOnDevice r = rows_of(rows, stream);
    const OnDevice on(r.array.device);
    const int blocks = vector_blocks(r.array.device, r.n);
    const DeviceArray room = device_array(partial, stream);
    require(room.size() >= r.count * blocks, "expected room for a number of each block and row");
    return with_rows(r, [&](auto* values) -> py::object {
        using Value = std::remove_pointer_t<decltype(values)>;
        constexpr std::size_t parts = sizeof(gpu::Wide<Value>) / 8;
        auto* sums_there = entries_of<Value>(room, room.size());
        checked(launch_vectors(&gpu::inner_kernel<Value>, blocks, stream_of(stream), values, r.stride, r.count,
                               entries_of<Value>(device_array(z, stream), r.n), factor, r.n, sums_there),
                "taking inner products");
        const std::vector<double> numbers =
            read_numbers(reinterpret_cast<const double*>(sums_there),
                         parts * static_cast<std::size_t>(r.count * blocks), stream_of(stream));
        py::array_t<double> sums({r.count, static_cast<Index>(parts)});
        for (Index j = 0; j < r.count; ++j)
            for (std::size_t part = 0; part < parts; ++part) {
                double sum = 0.0;
                for (int block = 0; block < blocks; ++block)
                    sum += numbers[static_cast<std::size_t>(j * blocks + block) * parts + part];
                sums.mutable_at(j, static_cast<Index>(part)) = sum;
            }
        return parts == 2 ? sums.attr("view")("complex128").attr("ravel")() : sums.attr("ravel")();
    });
}

// The first l rows become rotation (l, k) times all k, in place; the rotation is on the device and of the rows' type.
void turn_rows(const py::object& rows, const py::object& rotation, std::uintptr_t stream) {
    const RowsOnDevice r = rows_of(rows, stream);
    const DeviceArray factors = device_array(rotation, stream);
    require(factors.entry == r.array.entry && factors.shape.size() == 2 && factors.contiguous() &&
                factors.shape[1] == r.count && factors.shape[0] <= r.count,
            "expected no more combinations than rows, of all of them");
    require(r.array.entry != Entry::float32, "expected rows of float64 or complex128");
    const Index l = factors.shape[0];
    if (l == 0) return;
    const OnDevice on(r.array.device);
    const int shared = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, r.array.device);
    const auto turn = [&](auto* values) {
        using Value = std::remove_pointer_t<decltype(values)>;
        const int width = gpu::turn_width(r.count, sizeof(Value), gpu::kMaxThreads, shared);
        if (width == 0)
            throw py::value_error("a restart of " + std::to_string(r.count) +
                                  " rows needs more shared memory than the GPU has: pass a smaller ncv");
        const auto kernel = &gpu::turn_kernel<Value>;
        checked(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared),
                "preparing the kernel");
        Index stride = r.stride, count = r.count, left = l, n = r.n;
        auto* there = static_cast<const Value*>(factors.data);
        int columns = width;
        void* arguments[] = {&values, &stride, &count, &left, &there, &n, &columns};
        checked(
            cudaLaunchKernel(kernel, dim3(static_cast<unsigned>(vector_blocks(r.array.device, r.n))),
                             dim3(gpu::kMaxThreads), arguments, static_cast<std::size_t>(shared), stream_of(stream)),
            "combining rows in place");
    };
    if (r.array.entry == Entry::complex128)
        turn(static_cast<gpu::Complex*>(r.array.data));
    else
        turn(static_cast<double*>(r.array.data));
}

// The largest magnitude, of complex entries that of a part, and infinite where one is not finite; `partial` has
// vector_blocks() numbers.
double largest(const py::object& x, const py::object& partial, std::uintptr_t stream) {
    const DeviceArray vector = device_array(x, stream), room = device_array(partial, stream);
    const int blocks = vector_blocks(vector.device, vector.size());
    require(room.entry == Entry::float64 && room.contiguous() && room.size() >= blocks,
            "expected room for a number of each block");
    const OnDevice on(vector.device);
    const Index n = vector.size() * vector.itemsize() / 8;
    return gpu_largest(parts_of(vector, n), n, static_cast<double*>(room.data), blocks, stream_of(stream));
}

// A copy on the host, float64 or float32, of a vector or of rows that are contiguous.
py::array to_host(const py::object& x, std::uintptr_t stream) {
    const DeviceArray array = device_array(x, stream);
    require(array.entry != Entry::other && (array.shape.size() == 1 || array.shape.size() == 2),
            "expected a vector or matrix of float64, float32 or int32");
    const bool rows = array.shape.size() == 2;
    const auto width = static_cast<std::size_t>(array.shape.back() * array.itemsize());
    const std::size_t height = rows ? static_cast<std::size_t>(array.shape[0]) : 1;
    const std::vector<py::ssize_t> shape(array.shape.begin(), array.shape.end());
    py::array host = array.entry == Entry::float64   ? py::array(py::array_t<double>(shape))
                     : array.entry == Entry::float32 ? py::array(py::array_t<float>(shape))
                                                     : py::array(py::array_t<int>(shape));
    if (array.size() == 0) return host;
    require(array.shape.back() == 1 || array.strides.back() == 1, "expected contiguous rows");
    const OnDevice on(array.device);
    const std::size_t pitch = rows ? static_cast<std::size_t>(array.strides[0] * array.itemsize()) : width;
    checked(cudaMemcpy2DAsync(host.mutable_data(), width, array.data, std::max(pitch, width), width, height,
                              cudaMemcpyDeviceToHost, stream_of(stream)),
            "copying from the device");
    checked(cudaStreamSynchronize(stream_of(stream)), "waiting for the device");
    return host;
}

// A vector, or rows, of float64 or float32 into an array on a device.
void to_device(const py::array& host, const py::object& x, std::uintptr_t stream) {
    const DeviceArray array = device_array(x, stream);
    const bool rows = array.shape.size() == 2;
    require(host.ndim() == static_cast<py::ssize_t>(array.shape.size()) && (rows || host.ndim() == 1) &&
                static_cast<long long>(host.size()) == array.size() && host.itemsize() == array.itemsize() &&
                (host.flags() & py::array::c_style),
            "expected a host array of the same shape and type");
    if (array.size() == 0) return;
    const auto width = static_cast<std::size_t>(array.shape.back() * array.itemsize());
    const std::size_t pitch = rows ? static_cast<std::size_t>(array.strides[0] * array.itemsize()) : width;
    const OnDevice on(array.device);
    checked(cudaMemcpy2DAsync(array.data, std::max(pitch, width), host.data(), width, width,
                              rows ? static_cast<std::size_t>(array.shape[0]) : 1, cudaMemcpyHostToDevice,
                              stream_of(stream)),
            "copying to the device");
    checked(cudaStreamSynchronize(stream_of(stream)), "waiting for the device");
}

// The device that an array is on.
int device_of(const py::object& x) { return device_array(x, 0).device; }

// GPUs that can be used: none where there is no driver, or an older one than the runtime wants.
int device_count() {
    int count = 0;
    if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
    (void)cudaGetLastError();
    return 0;
}

// What there is, or why there is nothing.
py::dict describe() {
    py::dict d;
    int count = 0, runtime = 0, driver = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status != cudaSuccess) (void)cudaGetLastError();
    (void)cudaRuntimeGetVersion(&runtime);
    (void)cudaDriverGetVersion(&driver);
    d["runtime"] = runtime;
    d["driver"] = driver;
    d["problem"] = status == cudaSuccess ? py::object(py::none()) : py::object(py::str(cudaGetErrorString(status)));
    py::list devices;
    for (int device = 0; status == cudaSuccess && device < count; ++device) {
        cudaDeviceProp properties{};
        checked(cudaGetDeviceProperties(&properties, device), "asking for the device's name");
        py::dict one;
        one["name"] = std::string(properties.name);
        one["compute_capability"] = py::make_tuple(attribute(cudaDevAttrComputeCapabilityMajor, device),
                                                   attribute(cudaDevAttrComputeCapabilityMinor, device));
        one["multiprocessors"] = attribute(cudaDevAttrMultiProcessorCount, device);
        one["shared_bytes"] = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
        one["cooperative"] = attribute(cudaDevAttrCooperativeLaunch, device) != 0;
        devices.append(one);
    }
    d["devices"] = devices;
    return d;
}

py::tuple memory_info(int device) {
    const OnDevice on(device);
    std::size_t free = 0, total = 0;
    checked(cudaMemGetInfo(&free, &total), "asking for free memory");
    return py::make_tuple(free, total);
}

void synchronize(int device, std::uintptr_t stream) {
    const OnDevice on(device);
    const py::gil_scoped_release release;
    const cudaError_t status = cudaStreamSynchronize(stream_of(stream));
    const py::gil_scoped_acquire acquire;
    checked(status, "waiting for the device");
}

}  // namespace

PYBIND11_MODULE(_cuda, module) {
    module.doc() = "The Lanczos step and the quadrature of tridiagonals on a CUDA device.";
    py::register_local_exception_translator([](std::exception_ptr thrown) {
        try {
            if (thrown) std::rethrow_exception(thrown);
        } catch (const OutOfDeviceMemory& problem) {
            PyErr_SetString(PyExc_MemoryError, problem.what());
        }
    });

    py::class_<Run>(module, "Run")
        .def(py::init<Index, Index, const std::string&, py::object, py::object, py::object, py::object, py::object,
                      std::uintptr_t, Index>(),
             py::arg("dim"), py::arg("max_steps"), py::arg("storage"), py::arg("basis"), py::arg("candidate"),
             py::arg("recent"), py::arg("vector"), py::arg("workspace"), py::arg("stream"), py::arg("whole_dim") = 0)
        .def("begin", &Run::begin, py::arg("product"), py::arg("message"), py::arg("failed"), py::arg("stream"))
        .def("sweep", &Run::sweep, py::arg("round"), py::arg("all"), py::arg("ranks"), py::arg("message"))
        .def("judge", &Run::judge, py::arg("round"), py::arg("all"), py::arg("ranks"))
        .def("end", &Run::end)
        .def("wait", &Run::wait, py::arg("ahead"))
        .def("steps_told", &Run::steps_told)
        .def_property_readonly("corrections", &Run::corrections)
        .def("start", &Run::start, py::arg("unit"))
        .def("told", &Run::told)
        .def("launched", &Run::launched)
        .def("restart", &Run::restart, py::arg("rotation"), py::arg("theta"), py::arg("coupling"), py::arg("scale"),
             py::arg("exponent"), py::arg("memory"))
        .def("clear", &Run::clear)
        .def("hand_out", &Run::hand_out, py::arg("on"))
        .def("renew", &Run::renew, py::arg("v"))
        .def("projected", &Run::projected)
        .def_property_readonly("remainder", &Run::remainder)
        .def_property_readonly("exponent", [](Run& r) { return r.scalars().exponent; })
        .def_property_readonly("blocks", &Run::blocks)
        .def_property_readonly("stages", &Run::stages)
        .def("settle", &Run::settle)
        .def("resume", &Run::resume)
        .def("state", &Run::state)
        .def("restore", &Run::restore, py::arg("state"))
        .def_property_readonly("alpha", &Run::alpha)
        .def_property_readonly("beta", &Run::beta)
        .def_property_readonly("steps", [](Run& r) { return r.scalars().steps; })
        .def_property_readonly("sweeps", [](Run& r) { return r.scalars().sweeps; })
        .def_property_readonly("not_finite", [](Run& r) { return static_cast<Index>(r.scalars().not_finite); })
        .def_property_readonly("residual_norm", &Run::residual_norm)
        .def_property_readonly("max_projection", &Run::max_projection);

    module.def("step", &Run::step, py::arg("runs"), py::arg("products"), py::arg("stream"));
    module.def("begin_flat", &begin_flat, py::arg("basis"), py::arg("candidate"), py::arg("recent"), py::arg("state"),
               py::arg("v0"), py::arg("stream"));
    module.def("step_flat", &step_flat, py::arg("basis"), py::arg("candidate"), py::arg("recent"), py::arg("state"),
               py::arg("product"), py::arg("stream"));
    module.def("read_flat", &read_flat, py::arg("basis"), py::arg("candidate"), py::arg("recent"), py::arg("state"),
               py::arg("numbers"), py::arg("stream"));
    module.def("workspace_entries", &workspace_entries, py::arg("dim"), py::arg("max_steps"), py::arg("storage"),
               py::arg("device"));
    module.def("quadrature", &quadrature, py::arg("count"), py::arg("m"), py::arg("alpha"), py::arg("beta"),
               py::arg("nodes"), py::arg("weights"), py::arg("workspace"), py::arg("failed"), py::arg("stream"));
    module.def("vector_blocks", py::overload_cast<int>(&vector_blocks), py::arg("device"));
    module.def("combine_vectors", &combine_vectors, py::arg("y"), py::arg("factors"), py::arg("x"), py::arg("stream"));
    module.def("combine_rows", &combine_rows, py::arg("rows"), py::arg("weights"), py::arg("start"), py::arg("y"),
               py::arg("stream"));
    module.def("turn_rows", &turn_rows, py::arg("rows"), py::arg("rotation"), py::arg("stream"));
    module.def("inner", &inner, py::arg("rows"), py::arg("z"), py::arg("factor"), py::arg("partial"),
               py::arg("stream"));
    module.def("largest", &largest, py::arg("x"), py::arg("partial"), py::arg("stream"));
    module.def("to_host", &to_host, py::arg("array"), py::arg("stream"));
    module.def("to_device", &to_device, py::arg("host"), py::arg("array"), py::arg("stream"));
    module.def("device_of", &device_of, py::arg("array"));
    module.def("device_count", &device_count);
    module.def("describe", &describe);
    module.def("memory_info", &memory_info, py::arg("device"));
    module.def("synchronize", &synchronize, py::arg("device"), py::arg("stream"));
}
