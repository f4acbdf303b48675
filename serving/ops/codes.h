// Vectors in eight bits, sixteen side by side, and how far their products may be from exact ones.
//
// A block of bytes holds sixteen vectors:
//
//   float32 scale of each | float32 error of each | uint8 codes [dim / 4, 16, 4], dim rounded up
//
// The product of a query with a vector is `base + scale * <query, codes - 128>`, or at most
// `error * |query|` more or less; `base` is what the query has in common with all vectors of the
// block. A place without a vector has a scale that is NaN, of which no comparison is true.

#ifndef TWOTOWER_CODES_H_
#define TWOTOWER_CODES_H_

#include <cmath>
#include <limits>
#include <vector>

#include "lanes.h"

namespace twotower {

constexpr int64_t kNumbersOfBlock = 2 * kBlock;
constexpr int32_t kZeroCode = 128;
constexpr int64_t kMostOfCode = 255;
// Bounds of what float32 arithmetic adds to a length, and to what was lost in rounding a query.
constexpr float kWithRounding = 1.01f;
constexpr float kLostInRounding = 1.0f / (1 << 22);
constexpr int64_t kBisections = 24;
constexpr int64_t kFewMore = 8;

inline int64_t BlocksOf(int64_t count) { return (count + kBlock - 1) / kBlock; }
inline int64_t WordsOf(int64_t dim) { return (dim + kCodesOfWord - 1) / kCodesOfWord; }
inline int64_t BlockBytes(int64_t dim) {
  return kBlock * sizeof(float) * (2 + WordsOf(dim));
}

// A query in the form that blocks are multiplied with: entries are rounded to integers, so that sums
// of products with codes are exact.
struct Query {
  Query(const float* entries, int64_t dim) : entries(entries), dim(dim), pairs(2 * WordsOf(dim)) {
    float largest = 0.0f, squares = 0.0f;
    for (int64_t d = 0; d < dim; ++d) {
      largest = std::max(largest, std::fabs(entries[d]));
      squares += entries[d] * entries[d];
    }
    length = std::sqrt(squares);
    if (!std::isfinite(length)) {
      unknown = std::numeric_limits<float>::infinity();
      return;
    }
    const int64_t most_of_sum = std::numeric_limits<int32_t>::max() / (kMostOfCode * dim);
    step = std::max(largest / std::min<int64_t>(std::numeric_limits<int16_t>::max(), most_of_sum),
                    std::numeric_limits<float>::min());
    squares = 0.0f;
    for (int64_t d = 0; d < dim; ++d) {
      const int32_t rounded = std::nearbyint(entries[d] / step);
      const float lost = entries[d] - rounded * step;
      of_zeros += kZeroCode * rounded;
      squares += lost * lost;
      // The first and the third code of a word are a pair, the second and the fourth another.
      uint32_t& pair = pairs[d / kCodesOfWord * 2 + d % 2];
      pair |= static_cast<uint32_t>(rounded & 0xffff) << (d % kCodesOfWord < 2 ? 0 : 16);
    }
    // A vector's codes are no longer than this many times its scale.
    unknown = kZeroCode * std::sqrt(static_cast<float>(dim)) *
              (kWithRounding * std::sqrt(squares) + kLostInRounding * length);
  }

  const float* entries;
  int64_t dim;
  std::vector<uint32_t> pairs;
  float length;
  float step = 1.0f;
  int32_t of_zeros = 0;
  // What the rounding may have changed of a product, in scales of the vector.
  float unknown = 0.0f;
};

// The least and the most that products may be, of whole blocks.
struct Bounds {
  explicit Bounds(int64_t num_blocks) : least(num_blocks * kBlock), most(num_blocks * kBlock) {}

  std::vector<float> least, most;
};

// Bounds of the products of a query with one block, [kBlock] each.
template <int W>
TWOTOWER_INLINE void BoundBlock(const uint8_t* block, const Query& query, float base, float* least,
                                float* most) {
  using Signed = typename Register<W>::Signed;
  using Words = typename Register<W>::Unsigned;
  constexpr int64_t num_registers = kBlock / W;
  const float* numbers = reinterpret_cast<const float*>(block);
  const float* words = numbers + kNumbersOfBlock;
  const uint32_t* pairs = query.pairs.data();
  const uint32_t* const end = pairs + query.pairs.size();
  Signed sums[2 * num_registers] = {};
  for (; pairs < end; pairs += 2, words += kBlock) {
    const Signed first = (Signed)(pairs[0] + Words{}), second = (Signed)(pairs[1] + Words{});
#pragma GCC unroll 4
    for (int64_t at = 0; at < num_registers; ++at) {
      const Words codes = *reinterpret_cast<const Words*>(words + at * W);
      Signed products;
      PairProducts<W>((Signed)(codes & 0x00ff00ff), first, products);
      sums[2 * at] += products;
      PairProducts<W>((Signed)(codes >> 8 & 0x00ff00ff), second, products);
      sums[2 * at + 1] += products;
    }
  }
#pragma GCC unroll 4
  for (int64_t at = 0; at < num_registers; ++at) {
    Lanes<W> scales, errors;
    Load<W>(numbers + at * W, scales);
    Load<W>(numbers + kBlock + at * W, errors);
    const Signed sum = sums[2 * at] + sums[2 * at + 1] - query.of_zeros;
    const Lanes<W> near = __builtin_convertvector(sum, Lanes<W>) * (scales * query.step) + base;
    errors = errors * query.length + scales * query.unknown;
    Store<W>(near - errors, least + at * W);
    Store<W>(near + errors, most + at * W);
  }
}

// How many of whole blocks of values are at least `limit`.
template <int W>
TWOTOWER_INLINE int64_t CountFrom(const std::vector<float>& values, float limit) {
  typename Register<W>::Signed counts = {};
  for (size_t at = 0; at < values.size(); at += W) {
    Lanes<W> some;
    Load<W>(values.data() + at, some);
    counts -= some >= limit;
  }
  int64_t sum = 0;
  for (int lane = 0; lane < W; ++lane) sum += counts[lane];
  return sum;
}

// A limit that at least `wanted` values reach and few more, found by bisection; the least of all
// values where there are fewer.
template <int W>
TWOTOWER_INLINE float LimitOf(const std::vector<float>& values, int64_t wanted) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  Lanes<W> smallest = infinity - Lanes<W>{}, largest = -infinity - Lanes<W>{};
  for (size_t at = 0; at < values.size(); at += W) {
    Lanes<W> some;
    Load<W>(values.data() + at, some);
    smallest = some < smallest ? some : smallest;
    largest = some > largest ? some : largest;
  }
  float low = infinity, high = -infinity;
  for (int lane = 0; lane < W; ++lane) {
    low = std::min(low, smallest[lane]);
    high = std::max(high, largest[lane]);
  }
  const int64_t enough = wanted + kFewMore + wanted / 64;
  for (int64_t step = 0; step < kBisections; ++step) {
    const float middle = 0.5f * low + 0.5f * high;
    const int64_t reached = CountFrom<W>(values, middle);
    (reached >= wanted ? low : high) = middle;
    if (reached >= wanted && reached <= enough) break;
  }
  return low;
}

// Places of all that may be among the `wanted` with the largest products: those whose most is not
// below the least of that many others.
template <int W>
TWOTOWER_INLINE void KeepPossible(const Bounds& bounds, int64_t wanted, std::vector<int32_t>& places) {
  const float limit = LimitOf<W>(bounds.least, wanted);
  const float* most = bounds.most.data();
  const int64_t count = bounds.most.size();
  places.resize(count);
  int64_t kept = 0;
  for (int64_t block = 0; block < count; block += kBlock) {
    bool any = false;
    for (int64_t place = block; place < block + kBlock; ++place) any |= most[place] >= limit;
    if (!any) continue;
    for (int64_t place = block; place < block + kBlock; ++place) {
      places[kept] = place;
      kept += most[place] >= limit;
    }
  }
  places.resize(kept);
}

}  // namespace twotower

#endif  // TWOTOWER_CODES_H_
