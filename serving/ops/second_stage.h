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

#include <cmath>
#include <limits>
#include <vector>

#include "lanes.h"

namespace twotower {

constexpr float kLowestScore = std::numeric_limits<float>::lowest();
constexpr int64_t kRowsAhead = 32;
constexpr int64_t kCacheLine = 64;
constexpr int64_t kTile = 4;

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

// Query heads that are compared at a time with kTile candidate heads, so that all sums of products
// have registers: 32 with AVX-512, else 16.
template <int W>
constexpr int64_t kQueryTile = W == 16 ? 4 : 2;

// The best products of a few query heads with a few candidate heads, of which the last ones may be
// the same head again.
template <int W>
TWOTOWER_INLINE void Tile(const float* const (&candidate)[kTile], const float (&scales)[kTile],
                          const float* const (&query)[kQueryTile<W>], int64_t dim,
                          float (&best)[kQueryTile<W>]) {
  constexpr int64_t num_products = kQueryTile<W> * kTile;
  Lanes<W> parts[num_products] = {};
  for (int64_t d = 0; d < dim; d += W) {
    Lanes<W> own[kTile];
#pragma GCC unroll 4
    for (int h = 0; h < kTile; ++h) Load<W>(candidate[h] + d, own[h]);
#pragma GCC unroll 4
    for (int r = 0; r < kQueryTile<W>; ++r) {
      Lanes<W> wanted;
      Load<W>(query[r] + d, wanted);
#pragma GCC unroll 4
      for (int h = 0; h < kTile; ++h) parts[r * kTile + h] += own[h] * wanted;
    }
  }
  float products[num_products];
#pragma GCC unroll 4
  for (int64_t at = 0; at < num_products; at += W) {
    SumOfEach<W>(parts + at);
    Store<W>(parts[at], products + at);
  }
#pragma GCC unroll 4
  for (int r = 0; r < kQueryTile<W>; ++r) {
#pragma GCC unroll 4
    for (int h = 0; h < kTile; ++h) {
      best[r] = std::max(best[r], scales[h] * products[r * kTile + h]);
    }
  }
}

// The sum over query heads of the best product with one of the candidate's heads.
template <int W>
TWOTOWER_INLINE float BestMatches(const float* entries, const float* scales, const float* query,
                                  const Member& member) {
  float sum = 0.0f;
  for (int64_t r = 0; r < member.query_heads; r += kQueryTile<W>) {
    const float* of_query[kQueryTile<W>];
    float best[kQueryTile<W>];
    for (int64_t at = 0; at < kQueryTile<W>; ++at) {
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
      Tile<W>(of_candidate, own_scales, of_query, member.dim, best);
    }
    const int64_t present = std::min(kQueryTile<W>, member.query_heads - r);
    for (int64_t at = 0; at < present; ++at) sum += best[at];
  }
  return sum;
}

// `ScoreRows` with registers of W numbers.
template <int W>
TWOTOWER_INLINE void ScoreRowsWith(const Table& table, const std::vector<Member>& members,
                                   const float* query, const int32_t* rows, int64_t num_listed,
                                   float* scores) {
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
      score += member.factor * BestMatches<W>(entries, scales, of_member, member);
      entries += member.candidate_heads * member.dim;
      of_member += member.query_heads * member.dim;
      if (scales != nullptr) scales += member.candidate_heads;
    }
    scores[place] = score;
  }
}

// Adds to each given score what the members and the constant of its row say.
//
// `rows` are below the table's number of rows, negative without a candidate, whose score stays.
inline void ScoreRows(const Table& table, const std::vector<Member>& members, const float* query,
                      const int32_t* rows, int64_t num_listed, float* scores) {
  ForThisProcessor([&](auto lanes) TWOTOWER_KERNEL {
    ScoreRowsWith<lanes>(table, members, query, rows, num_listed, scores);
  });
}

// The best k, best first; the lowest float32 and row -1 where there are fewer. A candidate without
// a finite score is none.
inline void KeepBest(const float* scores, const int32_t* rows, int64_t num_listed, int64_t k,
                     float* best_scores, int32_t* best_rows) {
  std::vector<Ranked> found;
  found.reserve(num_listed);
  for (int64_t place = 0; place < num_listed; ++place) {
    if (rows[place] >= 0 && std::isfinite(scores[place]) && scores[place] > kLowestScore) {
      found.emplace_back(scores[place], rows[place]);
    }
  }
  const int64_t kept = KeepFirst(found, k);
  std::sort(found.begin(), found.begin() + kept);
  for (int64_t place = 0; place < k; ++place) {
    best_scores[place] = place < kept ? found[place].score : kLowestScore;
    best_rows[place] = place < kept ? found[place].row : kMissingRow;
  }
}

}  // namespace twotower

#endif  // TWOTOWER_SECOND_STAGE_H_
