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
constexpr int64_t kCodesOfWord = 4;
constexpr float kZeroCode = 128.0f;
constexpr int64_t kBisections = 24;
constexpr int64_t kFewMore = 8;

inline int64_t BlocksOf(int64_t count) { return (count + kBlock - 1) / kBlock; }
inline int64_t WordsOf(int64_t dim) { return (dim + kCodesOfWord - 1) / kCodesOfWord; }
inline int64_t BlockBytes(int64_t dim) {
  return kBlock * sizeof(float) * (2 + WordsOf(dim));
}

// A query in the form that blocks are multiplied with.
struct Query {
  Query(const float* entries, int64_t dim)
      : entries(entries), dim(dim), weights(kCodesOfWord * WordsOf(dim)) {
    // The second and the third code of a word are left where they are, and so are larger by this.
    constexpr float place[kCodesOfWord] = {1.0f, 1.0f / (1 << 8), 1.0f / (1 << 16), 1.0f};
    float squares = 0.0f;
    for (int64_t d = 0; d < dim; ++d) {
      weights[d] = entries[d] * place[d % kCodesOfWord];
      of_zeros += kZeroCode * entries[d];
      squares += entries[d] * entries[d];
    }
    length = std::sqrt(squares);
  }

  const float* entries;
  int64_t dim;
  std::vector<float> weights;
  float of_zeros = 0.0f;
  float length;
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
  const float* numbers = reinterpret_cast<const float*>(block);
  const int64_t num_words = query.weights.size() / kCodesOfWord;
  for (int64_t lane = 0; lane < kBlock; lane += W) {
    const float* words = numbers + kNumbersOfBlock + lane;
    const float* weights = query.weights.data();
    Lanes<W> sums[kCodesOfWord] = {};
    for (int64_t at = 0; at < num_words; ++at, words += kBlock, weights += kCodesOfWord) {
      const Words codes = *reinterpret_cast<const Words*>(words);
      sums[0] += __builtin_convertvector((Signed)(codes & 0xff), Lanes<W>) * weights[0];
      sums[1] += __builtin_convertvector((Signed)(codes & 0xff00), Lanes<W>) * weights[1];
      sums[2] += __builtin_convertvector((Signed)(codes & 0xff0000), Lanes<W>) * weights[2];
      sums[3] += __builtin_convertvector((Signed)(codes >> 24), Lanes<W>) * weights[3];
    }
    Lanes<W> scales, errors;
    Load<W>(numbers + lane, scales);
    Load<W>(numbers + kBlock + lane, errors);
    const Lanes<W> sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    const Lanes<W> near = (sum - query.of_zeros) * scales + base;
    Store<W>(near - errors * query.length, least + lane);
    Store<W>(near + errors * query.length, most + lane);
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
  const int64_t count = bounds.most.size();
  places.resize(count + 1);
  int64_t kept = 0;
  for (int64_t place = 0; place < count; ++place) {
    places[kept] = place;
    kept += bounds.most[place] >= limit;
  }
  places.resize(kept);
}

}  // namespace twotower

#endif  // TWOTOWER_CODES_H_
