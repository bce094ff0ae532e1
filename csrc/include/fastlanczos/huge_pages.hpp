// Large memory in large pages: a sweep over a basis of gigabytes looks up an address for every 2 MiB, not every 4 KiB.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace fastlanczos {

// Asks the system to back [memory, memory + bytes) with huge pages, best before it is first touched. Changes nothing
// but speed; where the system grants none, ordinary pages stay. Returns whether the request was accepted.
inline bool request_huge_pages(void* memory, std::size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    constexpr std::uintptr_t kPage = std::uintptr_t{2} << 20;
    const auto begin = reinterpret_cast<std::uintptr_t>(memory);
    const std::uintptr_t first = (begin + kPage - 1) / kPage * kPage, end = (begin + bytes) / kPage * kPage;
    return first < end && madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE) == 0;
#else
    (void)memory;
    (void)bytes;
    return false;
#endif
}

}  // namespace fastlanczos
