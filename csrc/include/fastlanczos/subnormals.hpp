// Subnormal numbers as zeros, for the length of a pass.
//
// Numbers below 2.2e-308 take a processor a hundred cycles each, and kernel matrices are full of them. In a product
// whose other terms are of plain size they change nothing.
#pragma once

#include <cstdint>

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#endif

namespace fastlanczos {

// Sets the calling thread's rounding unit to flush subnormals, and restores it.
class SubnormalsAsZeros {
public:
    explicit SubnormalsAsZeros(bool wanted) : wanted_(wanted) {
        if (!wanted_) return;
        before_ = get();
        set(before_ | kFlush);
    }
    ~SubnormalsAsZeros() {
        if (wanted_) set(before_);
    }
    SubnormalsAsZeros(const SubnormalsAsZeros&) = delete;
    SubnormalsAsZeros& operator=(const SubnormalsAsZeros&) = delete;

private:
#if defined(__x86_64__) || defined(_M_X64)
    using Word = unsigned;
    static constexpr Word kFlush = 0x8040;  // results (FTZ) and operands (DAZ)
    static Word get() { return _mm_getcsr(); }
    static void set(Word word) { _mm_setcsr(word); }
#elif defined(__aarch64__) && defined(__GNUC__)
    using Word = std::uint64_t;
    static constexpr Word kFlush = Word{1} << 24;  // FZ, for both
    static Word get() {
        Word word;
        asm volatile("mrs %0, fpcr" : "=r"(word));
        return word;
    }
    static void set(Word word) { asm volatile("msr fpcr, %0" : : "r"(word)); }
#else
    using Word = unsigned;
    static constexpr Word kFlush = 0;
    static Word get() { return 0; }
    static void set(Word) {}
#endif
    bool wanted_;
    Word before_ = 0;
};

// Whether a matrix with these entries has one beside which subnormal ones, of its own type, are below rounding.
template <class Value>
inline bool dwarfs_subnormals(const Value* values, std::int64_t count) {
    constexpr double least = sizeof(Value) == sizeof(float) ? 1e-18 : 1e-200;
    for (std::int64_t k = 0; k < count; ++k)
        if (values[k] >= least || values[k] <= -least) return true;
    return false;
}

}  // namespace fastlanczos
