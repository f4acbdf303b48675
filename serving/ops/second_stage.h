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

// Sums of products that are taken at a time: each has a register, and so have their factors.
template <int W>
constexpr int64_t kTile = W == 16 ? 16 : 8;

// The lanes of a member: as many as this processor has, of which a few fill its heads.
template <int W>
TWOTOWER_INLINE bool Fills(const Member& member) {
  return W == kFewestLanes || member.dim % (kCodesOfWord * W) == 0;
}

// W entries of a head as they are multiplied: the part'th of each word of codes, or of each
// kCodesOfWord * W floats the part'th W.
template <int W>
TWOTOWER_INLINE void LoadPart(const float* entries, int64_t part, Lanes<W>& into) {
  Load<W>(entries + part * W, into);
}
template <int W>
TWOTOWER_INLINE void LoadPart(const int8_t* entries, int64_t part, Lanes<W>& into) {
  using Words = typename Register<W>::Unsigned;
  using Signed = typename Register<W>::Signed;
  // A code is moved to the highest byte of its word, where it is 2^24 times as large.
  Words words = *reinterpret_cast<const Words*>(entries);
  words <<= 8 * (kCodesOfWord - 1 - part);
  if (part > 0) words &= 0xff000000;
  into = __builtin_convertvector((Signed)words, Lanes<W>);
}

// The query heads of a member in the order in which `LoadPart` takes entries.
template <int W, class Entry>
TWOTOWER_INLINE void Arrange(const float* query, const Member& member, float* into) {
  if constexpr (W > kFewestLanes) {
    if (!Fills<W>(member)) return Arrange<W / 2, Entry>(query, member, into);
  }
  for (int64_t at = 0; at < member.query_heads * member.dim; ++at) {
    if (std::is_same<Entry, float>::value) {
      into[at] = query[at];
    } else {
      const int64_t part = at / W % kCodesOfWord, word = at / (kCodesOfWord * W) * W + at % W;
      into[at] = query[word * kCodesOfWord + part] * (1.0f / (1 << 24));
    }
  }
}

// The product of one head with another.
template <int W, class Entry>
TWOTOWER_INLINE float Product(const Entry* entries, const float* query, int64_t dim) {
  Lanes<W> sums[kCodesOfWord] = {};
  for (int64_t d = 0; d < dim; d += kCodesOfWord * W) {
#pragma GCC unroll 4
    for (int64_t part = 0; part < kCodesOfWord; ++part) {
      Lanes<W> own, wanted;
      LoadPart<W>(entries + d, part, own);
      Load<W>(query + d + part * W, wanted);
      sums[part] += own * wanted;
    }
  }
  float lanes[W], sum = 0.0f;
  Store<W>((sums[0] + sums[1]) + (sums[2] + sums[3]), lanes);
  for (const float lane : lanes) sum += lane;
  return sum;
}

// The sum over query heads of the best product with one of the candidate's heads. kQueries and
// kTile / kQueries heads are taken at a time; the last one stands in for those behind it.
template <int W, int kQueries, class Entry>
TWOTOWER_INLINE float BestMatches(const Entry* entries, const float* scales, const float* query,
                                  const Member& member) {
  constexpr int kHeads = kTile<W> / kQueries, kRegisters = kTile<W> / W;
  float sum = 0.0f;
  for (int64_t r = 0; r < member.query_heads; r += kQueries) {
    const float* of_query[kQueries];
#pragma GCC unroll 16
    for (int64_t at = 0; at < kQueries; ++at) {
      of_query[at] = query + std::min(r + at, member.query_heads - 1) * member.dim;
    }
    Lanes<W> best[kRegisters];
#pragma GCC unroll 16
    for (Lanes<W>& one : best) one = -std::numeric_limits<float>::infinity() - Lanes<W>{};
    for (int64_t h = 0; h < member.candidate_heads; h += kHeads) {
      const Entry* of_candidate[kHeads];
      float own_scales[kHeads];
#pragma GCC unroll 16
      for (int64_t at = 0; at < kHeads; ++at) {
        const int64_t head = std::min(h + at, member.candidate_heads - 1);
        of_candidate[at] = entries + head * member.dim;
        own_scales[at] = scales == nullptr ? 1.0f : scales[head];
      }
      Lanes<W> sums[kTile<W>] = {};
      for (int64_t d = 0; d < member.dim; d += kCodesOfWord * W) {
#pragma GCC unroll 4
        for (int64_t part = 0; part < kCodesOfWord; ++part) {
          Lanes<W> own[kHeads];
#pragma GCC unroll 16
          for (int head = 0; head < kHeads; ++head) {
            LoadPart<W>(of_candidate[head] + d, part, own[head]);
          }
#pragma GCC unroll 16
          for (int at = 0; at < kQueries; ++at) {
            Lanes<W> wanted;
            Load<W>(of_query[at] + d + part * W, wanted);
#pragma GCC unroll 16
            for (int head = 0; head < kHeads; ++head) sums[at * kHeads + head] += own[head] * wanted;
          }
        }
      }
#pragma GCC unroll 16
      for (int at = 0; at < kRegisters; ++at) {
        SumOfEach<W>(sums + at * W);
        Lanes<W> factors;
#pragma GCC unroll 16
        for (int lane = 0; lane < W; ++lane) factors[lane] = own_scales[(at * W + lane) % kHeads];
        const Lanes<W> products = sums[at * W] * factors;
        best[at] = products > best[at] ? products : best[at];
      }
    }
    float matches[kTile<W>];
#pragma GCC unroll 16
    for (int at = 0; at < kRegisters; ++at) Store<W>(best[at], matches + at * W);
    const int64_t present = std::min<int64_t>(kQueries, member.query_heads - r);
    for (int64_t at = 0; at < present; ++at) {
      float most = matches[at * kHeads];
#pragma GCC unroll 16
      for (int head = 1; head < kHeads; ++head) most = std::max(most, matches[at * kHeads + head]);
      sum += most;
    }
  }
  return sum;
}

// The score of a candidate in the view of one member, without its factor.
template <int W, class Entry>
TWOTOWER_INLINE float Match(const Entry* entries, const float* scales, const float* query,
                            const Member& member) {
  if constexpr (W > kFewestLanes) {
    if (!Fills<W>(member)) return Match<W / 2>(entries, scales, query, member);
  }
  if (member.query_heads > 1) return BestMatches<W, 4>(entries, scales, query, member);
  if (member.candidate_heads > 1) return BestMatches<W, 1>(entries, scales, query, member);
  return Product<W>(entries, query, member.dim) * (scales == nullptr ? 1.0f : scales[0]);
}

// `ScoreRows` with registers of W numbers, of a table of `Entry`.
template <int W, class Entry>
TWOTOWER_INLINE void ScoreRowsOf(const Table& table, const std::vector<Member>& members,
                                 const float* query, const int32_t* rows, int64_t num_listed,
                                 float* scores) {
  std::vector<float> arranged(QueryWidth(members));
  int64_t num_scales = 0, num_arranged = 0;
  for (const Member& member : members) {
    num_scales += table.int8 ? member.candidate_heads : 0;
    Arrange<W, Entry>(query + num_arranged, member, arranged.data() + num_arranged);
    num_arranged += member.query_heads * member.dim;
  }
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
    const Entry* entries = reinterpret_cast<const Entry*>(numbers + 1 + num_scales);
    const float* of_member = arranged.data();
    float score = scores[place] + numbers[0];
    for (const Member& member : members) {
      score += member.factor * Match<W>(entries, scales, of_member, member);
      entries += member.candidate_heads * member.dim;
      of_member += member.query_heads * member.dim;
      if (scales != nullptr) scales += member.candidate_heads;
    }
    scores[place] = score;
  }
}

// `ScoreRows` with registers of W numbers.
template <int W>
TWOTOWER_INLINE void ScoreRowsWith(const Table& table, const std::vector<Member>& members,
                                   const float* query, const int32_t* rows, int64_t num_listed,
                                   float* scores) {
  if (table.int8) {
    ScoreRowsOf<W, int8_t>(table, members, query, rows, num_listed, scores);
  } else {
    ScoreRowsOf<W, float>(table, members, query, rows, num_listed, scores);
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
