// Arrays of any framework on a device, as pointer, shape and strides: `__cuda_array_interface__`, or DLPack.
#pragma once

#include <cuda_runtime.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace py = pybind11;

// MemoryError in Python. Not raised there at once: XLA's threads do not hold the GIL.
class OutOfDeviceMemory : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

// Throws what a CUDA call reports.
inline void checked(cudaError_t status, const char* what) {
    if (status == cudaSuccess) return;
    (void)cudaGetLastError();
    const std::string message =
        std::string(what) + ": CUDA reports " + cudaGetErrorName(status) + " (" + cudaGetErrorString(status) + ")";
    if (status != cudaErrorMemoryAllocation) throw std::runtime_error(message);
    throw OutOfDeviceMemory(message);
}

// Makes a device the current one as long as it lives.
class OnDevice {
public:
    explicit OnDevice(int device) {
        checked(cudaGetDevice(&before_), "looking for the current device");
        if (device != before_) checked(cudaSetDevice(device), "changing the device");
        changed_ = device != before_;
    }
    ~OnDevice() {
        if (changed_) (void)cudaSetDevice(before_);
    }
    OnDevice(const OnDevice&) = delete;
    OnDevice& operator=(const OnDevice&) = delete;

private:
    int before_ = 0;
    bool changed_ = false;
};

enum class Entry { float64, float32, int32, complex128, other };

// What another framework's array is. The array must outlive it. Whether it may be written to is the framework's word
// (fastlanczos/arrays/frameworks.py): JAX marks all its memory as read-only.
struct DeviceArray {
    void* data = nullptr;
    std::vector<long long> shape, strides;  // strides in entries
    Entry entry = Entry::other;
    std::string dtype;
    int device = -1;

    long long size() const {
        long long product = 1;
        for (const long long n : shape) product *= n;
        return product;
    }

    long long itemsize() const { return entry == Entry::complex128 ? 16 : entry == Entry::float64 ? 8 : 4; }

    bool contiguous() const {
        long long expected = 1;
        for (std::size_t axis = shape.size(); axis-- > 0;) {
            if (shape[axis] > 1 && strides[axis] != expected) return false;
            expected *= shape[axis];
        }
        return true;
    }
};

namespace dlpack {

// The parts of DLPack's ABI that are read, by its specification (version 0.8, and the unversioned capsules of 1.x).
struct Tensor {
    void* data;
    std::int32_t device_type, device_id;
    std::int32_t ndim;
    std::uint8_t code, bits;
    std::uint16_t lanes;
    std::int64_t *shape, *strides;
    std::uint64_t byte_offset;
};

struct ManagedTensor {
    Tensor tensor;
    void* context;
    void (*deleter)(ManagedTensor*);
};

constexpr std::int32_t kCuda = 2, kCudaManaged = 13;
constexpr std::uint8_t kInteger = 0, kFloat = 2, kComplex = 5;

}  // namespace dlpack

inline DeviceArray array_of_interface(const py::dict& interface) {
    DeviceArray array;
    const auto data = interface["data"].cast<py::tuple>();
    array.data = reinterpret_cast<void*>(data[0].cast<std::uintptr_t>());
    for (const py::handle n : interface["shape"].cast<py::tuple>()) array.shape.push_back(n.cast<long long>());
    array.dtype = interface["typestr"].cast<std::string>();
    array.entry = array.dtype == "<f8"    ? Entry::float64
                  : array.dtype == "<f4"  ? Entry::float32
                  : array.dtype == "<i4"  ? Entry::int32
                  : array.dtype == "<c16" ? Entry::complex128
                                          : Entry::other;
    const bool has_strides = interface.contains("strides") && !interface["strides"].is_none();
    array.strides.assign(array.shape.size(), 1);
    for (std::size_t axis = array.shape.size(); axis-- > 0;)
        if (has_strides)
            array.strides[axis] = interface["strides"].cast<py::tuple>()[axis].cast<long long>() / array.itemsize();
        else if (axis + 1 < array.shape.size())
            array.strides[axis] = array.strides[axis + 1] * array.shape[axis + 1];
    cudaPointerAttributes attributes{};
    if (array.size() > 0) checked(cudaPointerGetAttributes(&attributes, array.data), "asking where an array lies");
    array.device = array.size() > 0 ? attributes.device : 0;
    return array;
}

inline DeviceArray array_of_capsule(const py::capsule& capsule) {
    const auto& tensor = static_cast<dlpack::ManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"))->tensor;
    if (tensor.device_type != dlpack::kCuda && tensor.device_type != dlpack::kCudaManaged)
        throw py::value_error("the array is not on a CUDA device");
    DeviceArray array;
    array.data = static_cast<char*>(tensor.data) + tensor.byte_offset;
    array.device = tensor.device_id;
    array.dtype = (tensor.code == dlpack::kFloat ? "float" : "type ") + std::to_string(tensor.bits);
    array.entry = tensor.lanes != 1                                       ? Entry::other
                  : tensor.code == dlpack::kFloat && tensor.bits == 64    ? Entry::float64
                  : tensor.code == dlpack::kFloat && tensor.bits == 32    ? Entry::float32
                  : tensor.code == dlpack::kInteger && tensor.bits == 32  ? Entry::int32
                  : tensor.code == dlpack::kComplex && tensor.bits == 128 ? Entry::complex128
                                                                          : Entry::other;
    array.shape.assign(tensor.shape, tensor.shape + tensor.ndim);
    array.strides.assign(array.shape.size(), 1);
    for (std::size_t axis = array.shape.size(); axis-- > 0;)
        if (tensor.strides)
            array.strides[axis] = tensor.strides[axis];
        else if (axis + 1 < array.shape.size())
            array.strides[axis] = array.strides[axis + 1] * array.shape[axis + 1];
    return array;
}

// Raises TypeError for what is no array on a device. `stream`: the one that the array is going to be used on.
inline DeviceArray device_array(const py::object& x, std::uintptr_t stream) {
    if (py::hasattr(x, "__cuda_array_interface__"))
        return array_of_interface(x.attr("__cuda_array_interface__").cast<py::dict>());
    if (py::hasattr(x, "__dlpack__"))
        return array_of_capsule(x.attr("__dlpack__")(py::arg("stream") = stream ? stream : 1).cast<py::capsule>());
    throw py::type_error("expected an array on a CUDA device: something with __cuda_array_interface__ or __dlpack__");
}
