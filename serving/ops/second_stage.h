// Scores of listed candidates from a packed table, and the best of them.
//
// A row of the table holds everything that the second stage knows of one candidate, so that one
// stretch of memory is read for it:
//
//   float32 constant | int8 only: float32 scale of each head | entries of all heads | padding
//
// Heads are those of all members, one member after the other. The score of a candidate is
//
//   given + constant + sum over members of factor * sum over query heads of the best product with a
//   candidate head,
//
// as `serving.graph.pre_ranking` computes it in core operations. Nothing here knows TensorFlow, so
// that the same lines run under the sanitizers.

#ifndef TWOTOWER_SECOND_STAGE_H_
#define TWOTOWER_SECOND_STAGE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
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

constexpr float kLowestScore = std::numeric_limits<float>::lowest();
constexpr int32_t kMissingRow = -1;
constexpr int64_t kRowsAhead = 4;
constexpr int64_t kCacheLine = 64;

// Heads that are compared with each other.
struct Member {
  int64_t query_heads;
  int64_t candidate_heads;
  // A multiple of 16: zeros fill the last entries of a head.
  int64_t dim;
  float factor;
};

struct Table {
  const uint8_t* bytes;
  int64_t num_rows;
  int64_t row_bytes;
  bool int8;
};

inline int64_t QueryWidth(const std::vector<Member>& members) {
  int64_t width = 0;
  for (const Member& member : members) width += member.query_heads * member.dim;
  return width;
}

// Bytes of a row that are in use.
inline int64_t UsedBytes(const std::vector<Member>& members, bool int8) {
  int64_t bytes = sizeof(float);
  for (const Member& member : members) {
    if (int8) bytes += member.candidate_heads * sizeof(float);
    bytes += member.candidate_heads * member.dim * (int8 ? 1 : sizeof(float));
  }
  return bytes;
}

// Sixteen numbers that the compiler keeps in one register, or in several of a smaller processor.
typedef float Lanes __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t Integers __attribute__((vector_size(64)));
constexpr int64_t kLanes = 16;
constexpr int64_t kTile = 4;

// By reference: a function that returns so wide a vector has another ABI on each processor.
TWOTOWER_INLINE void Load(const float* entries, Lanes& into) {
  into = *reinterpret_cast<const Lanes*>(entries);
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

// The best products of four query heads with four candidate heads, of which the last ones may be
// the same head again.
TWOTOWER_INLINE void Tile(const float* const (&candidate)[kTile], const float (&scales)[kTile],
                          const float* const (&query)[kTile], int64_t dim, float (&best)[kTile]) {
  Lanes parts[kTile * kTile] = {};
  for (int64_t d = 0; d < dim; d += kLanes) {
    Lanes own[kTile];
#pragma GCC unroll 4
    for (int h = 0; h < kTile; ++h) Load(candidate[h] + d, own[h]);
#pragma GCC unroll 4
    for (int r = 0; r < kTile; ++r) {
      Lanes wanted;
      Load(query[r] + d, wanted);
#pragma GCC unroll 4
      for (int h = 0; h < kTile; ++h) parts[r * kTile + h] += own[h] * wanted;
    }
  }
  SumOfEach(parts);
  float products[kLanes];
  std::memcpy(products, &parts[0], sizeof(products));
#pragma GCC unroll 4
  for (int r = 0; r < kTile; ++r) {
#pragma GCC unroll 4
    for (int h = 0; h < kTile; ++h) {
      best[r] = std::max(best[r], scales[h] * products[r * kTile + h]);
    }
  }
}

// The sum over query heads of the best product with one of the candidate's heads.
TWOTOWER_INLINE float BestMatches(const float* entries, const float* scales, const float* query,
                                  const Member& member) {
  float sum = 0.0f;
  for (int64_t r = 0; r < member.query_heads; r += kTile) {
    const float* of_query[kTile];
    float best[kTile];
    for (int64_t at = 0; at < kTile; ++at) {
      of_query[at] = query + std::min(r + at, member.query_heads - 1) * member.dim;
      best[at] = -std::numeric_limits<float>::infinity();
    }
    for (int64_t h = 0; h < member.candidate_heads; h += kTile) {
      const float* of_candidate[kTile];
      float own_scales[kTile];
      for (int64_t at = 0; at < kTile; ++at) {
        const int64_t head = std::min(h + at, member.candidate_heads - 1);
        of_candidate[at] = entries + head * member.dim;
        own_scales[at] = scales == nullptr ? 1.0f : scales[head];
      }
      Tile(of_candidate, own_scales, of_query, member.dim, best);
    }
    for (int64_t at = 0; at < std::min(kTile, member.query_heads - r); ++at) sum += best[at];
  }
  return sum;
}

// Adds to each given score what the members and the constant of its row say.
//
// `rows` are below the table's number of rows, negative without a candidate, whose score stays.
TWOTOWER_EACH_PROCESSOR
inline void ScoreRows(const Table& table, const std::vector<Member>& members, const float* query,
                      const int32_t* rows, int64_t num_listed, float* scores) {
  int64_t num_scales = 0, num_entries = 0;
  for (const Member& member : members) {
    num_scales += table.int8 ? member.candidate_heads : 0;
    num_entries += member.candidate_heads * member.dim;
  }
  std::vector<float> expanded(table.int8 ? num_entries : 0);
  // Rows lie anywhere in memory, so each is asked for long before it is read. The request stands here
  // and not in a function of its own, which a compiler would take for one without effect.
  for (int64_t ahead = 0; ahead < num_listed + kRowsAhead; ++ahead) {
    if (ahead < num_listed && rows[ahead] >= 0) {
      const uint8_t* row = table.bytes + rows[ahead] * table.row_bytes;
      for (int64_t at = 0; at < table.row_bytes; at += kCacheLine) __builtin_prefetch(row + at);
    }
    const int64_t place = ahead - kRowsAhead;
    if (place < 0 || rows[place] < 0) continue;
    const float* numbers = reinterpret_cast<const float*>(table.bytes + rows[place] * table.row_bytes);
    const float* scales = table.int8 ? numbers + 1 : nullptr;
    const float* entries = numbers + 1 + num_scales;
    if (table.int8) {
      const int8_t* codes = reinterpret_cast<const int8_t*>(entries);
      for (int64_t at = 0; at < num_entries; ++at) expanded[at] = codes[at];
      entries = expanded.data();
    }
    float score = scores[place] + numbers[0];
    const float* of_member = query;
    for (const Member& member : members) {
      score += member.factor * BestMatches(entries, scales, of_member, member);
      entries += member.candidate_heads * member.dim;
      of_member += member.query_heads * member.dim;
      if (scales != nullptr) scales += member.candidate_heads;
    }
    scores[place] = score;
  }
}

// A number that rises with the score and, among equal scores, falls with the row; -0 equals 0.
inline int64_t Rank(float score, int32_t row) {
  int32_t bits;
  std::memcpy(&bits, &score, sizeof(bits));
  const int64_t rising = bits < 0 ? -static_cast<int64_t>(bits & 0x7fffffff) : bits;
  return rising * (int64_t{1} << 32) - row;
}

// The best k, best first; the lowest float32 and row -1 where there are fewer. A candidate without
// a finite score is none.
inline void KeepBest(const float* scores, const int32_t* rows, int64_t num_listed, int64_t k,
                     float* best_scores, int32_t* best_rows) {
  std::vector<std::pair<int64_t, int64_t>> ranked;
  ranked.reserve(num_listed);
  for (int64_t place = 0; place < num_listed; ++place) {
    if (rows[place] >= 0 && std::isfinite(scores[place]) && scores[place] > kLowestScore) {
      ranked.emplace_back(-Rank(scores[place], rows[place]), place);
    }
  }
  const int64_t kept = std::min<int64_t>(k, ranked.size());
  if (kept < static_cast<int64_t>(ranked.size())) {
    std::nth_element(ranked.begin(), ranked.begin() + kept, ranked.end());
  }
  std::sort(ranked.begin(), ranked.begin() + kept);
  for (int64_t place = 0; place < k; ++place) {
    const bool found = place < kept;
    best_scores[place] = found ? scores[ranked[place].second] : kLowestScore;
    best_rows[place] = found ? rows[ranked[place].second] : kMissingRow;
  }
}

}  // namespace twotower

#endif  // TWOTOWER_SECOND_STAGE_H_
