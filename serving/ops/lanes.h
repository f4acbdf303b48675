// Sums of products, as many at a time as a register holds; and the order of answers.

#ifndef TWOTOWER_LANES_H_
#define TWOTOWER_LANES_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#define TWOTOWER_INLINE inline __attribute__((always_inline))

namespace twotower {

// Numbers that lie side by side in the tables: they fill one register, or several smaller ones.
constexpr int64_t kBlock = 16;
constexpr int kFewestLanes = 4;
constexpr int64_t kCacheLine = 64;
// Codes of eight bits are read as words, each of which holds this many.
constexpr int64_t kCodesOfWord = 4;
constexpr int32_t kMissingRow = -1;

// What a register of `W` numbers holds. A vector that is wider than the processor's registers would
// be shuffled and converted number by number, which costs several times as much.
template <int W>
struct Register {
  typedef float Floats __attribute__((vector_size(4 * W), aligned(4), may_alias));
  typedef int32_t Signed __attribute__((vector_size(4 * W)));
  typedef uint32_t Unsigned __attribute__((vector_size(4 * W), aligned(4), may_alias));
};
template <int W>
using Lanes = typename Register<W>::Floats;

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
template <class Work>
__attribute__((target("arch=x86-64-v4"))) inline void RunWithSixteen(const Work& work) {
  work(std::integral_constant<int, 16>());
}
template <class Work>
__attribute__((target("arch=x86-64-v3"))) inline void RunWithEight(const Work& work) {
  work(std::integral_constant<int, 8>());
}
#endif

// Calls `work` with the number of lanes of this processor, compiled for it: 16 (AVX-512), 8 (AVX2)
// or 4. `work` must be TWOTOWER_KERNEL, and so must be what it calls.
#define TWOTOWER_KERNEL __attribute__((always_inline))
template <class Work>
inline void ForThisProcessor(const Work& work) {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
  if (__builtin_cpu_supports("x86-64-v4")) return RunWithSixteen(work);
  if (__builtin_cpu_supports("x86-64-v3")) return RunWithEight(work);
#endif
  work(std::integral_constant<int, kFewestLanes>());
}

// The products of 16-bit numbers that lie side by side, two in each lane, added: `pmaddwd`, which GCC
// finds in loops alone. Under the sanitizers, processors stand in for those that have more lanes.
template <int W>
TWOTOWER_INLINE void PairProducts(const typename Register<W>::Signed& a,
                                  const typename Register<W>::Signed& b,
                                  typename Register<W>::Signed& sums) {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
  if constexpr (W == kFewestLanes) {
    sums = a;
    asm("pmaddwd %1, %0" : "+x"(sums) : "x"(b));
  } else {
    asm("vpmaddwd %2, %1, %0" : "=v"(sums) : "v"(a), "v"(b));
  }
#else
  sums = (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16);
#endif
}

// By reference: a function that returns a wide vector has another ABI on each processor.
template <int W>
TWOTOWER_INLINE void Load(const float* entries, Lanes<W>& into) {
  into = *reinterpret_cast<const Lanes<W>*>(entries);
}
template <int W>
TWOTOWER_INLINE void Store(const Lanes<W>& entries, float* into) {
  *reinterpret_cast<Lanes<W>*>(into) = entries;
}

// Where a lane of the sum of neighbours in two vectors, one behind the other, takes its first
// (odd = 0) or its second number from. Neighbours are single lanes of a quarter of four, so that no
// number crosses to another quarter, or whole quarters.
constexpr int NeighbouringLane(int width, int lane, int odd) {
  return lane / 4 * 4 + lane % 2 * 2 + odd + lane % 4 / 2 * width;
}
constexpr int NeighbouringQuarter(int width, int lane, int odd) {
  const int quarter = lane / 4, in_each = width / 8;
  return (quarter % in_each * 2 + odd) * 4 + lane % 4 + quarter / in_each * width;
}

template <int W, bool kQuarters, int... kLane>
TWOTOWER_INLINE void AddNeighbours(const Lanes<W>& a, const Lanes<W>& b, Lanes<W>& sum,
                                   std::integer_sequence<int, kLane...>) {
  if constexpr (kQuarters) {
    sum = __builtin_shufflevector(a, b, NeighbouringQuarter(W, kLane, 0)...) +
          __builtin_shufflevector(a, b, NeighbouringQuarter(W, kLane, 1)...);
  } else {
    sum = __builtin_shufflevector(a, b, NeighbouringLane(W, kLane, 0)...) +
          __builtin_shufflevector(a, b, NeighbouringLane(W, kLane, 1)...);
  }
}

// The sum over the lanes of each of W vectors, in their order, in the first of them. Every step adds
// neighbours in two vectors, which leaves half as many.
template <int W, int kCount = W>
TWOTOWER_INLINE void SumOfEach(Lanes<W>* parts) {
  if constexpr (kCount > 1) {
    constexpr auto lanes = std::make_integer_sequence<int, W>();
#pragma GCC unroll 8
    for (int at = 0; at < kCount / 2; ++at) {
      AddNeighbours<W, (kCount <= W / 4)>(parts[2 * at], parts[2 * at + 1], parts[at], lanes);
    }
    SumOfEach<W, kCount / 2>(parts);
  }
}

// A candidate in the order of answers: score descending, then row ascending; -0 equals 0.
struct Ranked {
  Ranked(float score, int32_t row) : score(score), row(row) {
    int32_t bits;
    std::memcpy(&bits, &score, sizeof(bits));
    const int64_t rising = bits < 0 ? -static_cast<int64_t>(bits & 0x7fffffff) : bits;
    rank = rising * (int64_t{1} << 32) - row;
  }
  bool operator<(const Ranked& other) const { return rank > other.rank; }

  int64_t rank;
  float score;
  int32_t row;
};

// Moves the first `count` to the front, in any order; the number that there are.
inline int64_t KeepFirst(std::vector<Ranked>& found, int64_t count) {
  if (count >= static_cast<int64_t>(found.size())) return found.size();
  std::nth_element(found.begin(), found.begin() + count, found.end());
  return count;
}

}  // namespace twotower

#endif  // TWOTOWER_LANES_H_
