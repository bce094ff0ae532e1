// In place of CUDA's header: asynchronous copies, which arrive when they are waited for and not before.
#pragma once

#include "emulation.hpp"

inline void __pipeline_memcpy_async(void* to, const void* from, std::size_t bytes, std::size_t zeros = 0) {
    emulation::Device::get().copy(to, from, bytes, zeros);
}
inline void __pipeline_commit() { emulation::Device::get().commit(); }
inline void __pipeline_wait_prior(std::size_t pending) { emulation::Device::get().wait_prior(pending); }
