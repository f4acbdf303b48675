// Sums of products, sixteen at a time, for each kind of processor; and the order of answers.

#ifndef TWOTOWER_LANES_H_
#define TWOTOWER_LANES_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

// One compiled version for each kind of processor; the loader takes the best that the machine runs.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(TWOTOWER_ONE_TARGET)
#define TWOTOWER_EACH_PROCESSOR \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define TWOTOWER_EACH_PROCESSOR
#endif
#define TWOTOWER_INLINE inline __attribute__((always_inline))

namespace twotower {

// Sixteen numbers that the compiler keeps in one register, or in several of a smaller processor.
typedef float Lanes __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t Integers __attribute__((vector_size(64)));
typedef uint32_t Words __attribute__((vector_size(64), aligned(4), may_alias));
constexpr int64_t kLanes = 16;
constexpr int32_t kMissingRow = -1;

// By reference: a function that returns so wide a vector has another ABI on each processor.
TWOTOWER_INLINE void Load(const float* entries, Lanes& into) {
  into = *reinterpret_cast<const Lanes*>(entries);
}
TWOTOWER_INLINE void Store(const Lanes& entries, float* into) {
  *reinterpret_cast<Lanes*>(into) = entries;
}

// The sum over the lanes of each of sixteen vectors, in their order. Every step adds neighbouring
// lanes of two vectors, which leaves half as many.
TWOTOWER_INLINE void SumOfEach(Lanes (&parts)[kLanes]) {
  constexpr Integers even = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30};
  constexpr Integers odd = {1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31};
#pragma GCC unroll 8
  for (int at = 0; at < 8; ++at) {
    parts[at] = __builtin_shuffle(parts[2 * at], parts[2 * at + 1], even) +
                __builtin_shuffle(parts[2 * at], parts[2 * at + 1], odd);
  }
#pragma GCC unroll 4
  for (int at = 0; at < 4; ++at) {
    parts[at] = __builtin_shuffle(parts[2 * at], parts[2 * at + 1], even) +
                __builtin_shuffle(parts[2 * at], parts[2 * at + 1], odd);
  }
#pragma GCC unroll 2
  for (int at = 0; at < 2; ++at) {
    parts[at] = __builtin_shuffle(parts[2 * at], parts[2 * at + 1], even) +
                __builtin_shuffle(parts[2 * at], parts[2 * at + 1], odd);
  }
  parts[0] = __builtin_shuffle(parts[0], parts[1], even) +
             __builtin_shuffle(parts[0], parts[1], odd);
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
