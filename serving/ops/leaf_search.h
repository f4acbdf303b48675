// Exact scores of the best vectors in the leaves whose centroids are nearest to a query.
//
// Centroids and vectors are read in eight bits, which tells of nearly all that they are not among the
// best; the few that may be are read whole. So the lists are those of exact scores of everything in
// the same leaves. Nothing here knows TensorFlow; see second_stage.h.

#ifndef TWOTOWER_LEAF_SEARCH_H_
#define TWOTOWER_LEAF_SEARCH_H_

#include <limits>
#include <vector>

#include "codes.h"
#include "lanes.h"

namespace twotower {

constexpr float kNoNeighbour = -std::numeric_limits<float>::infinity();
constexpr int64_t kVectorsAhead = 16;

struct Leaves {
  const float* centroids;         // [num_leaves, dim]
  const uint8_t* centroid_codes;  // [BlocksOf(num_leaves), BlockBytes(dim)]
  const uint8_t* codes;           // [num_leaves, BlocksOf(leaf_size), BlockBytes(dim)], less centroids
  const int32_t* rows;            // [num_leaves, leaf_size], kMissingRow without a candidate
  const float* vectors;           // [num_rows, dim]
  int64_t num_leaves;
  int64_t leaf_size;
  int64_t num_rows;
  int64_t dim;
};

// Ranks rows of a matrix by their exact products with a query.
template <int W>
TWOTOWER_INLINE void Rank(const float* vectors, const std::vector<int32_t>& rows, const Query& query,
                          std::vector<Ranked>& ranked) {
  const int64_t count = rows.size(), dim = query.dim, whole = dim - dim % W;
  ranked.clear();
  ranked.reserve(count);
  // Rows lie anywhere in memory, so that each is asked for long before it is multiplied.
  for (int64_t first = -kVectorsAhead; first < count; first += W) {
    const int64_t end = std::min(count, first + kVectorsAhead + W);
    for (int64_t at = first + kVectorsAhead; at < end; ++at) {
      const float* vector = vectors + rows[at] * dim;
      for (int64_t d = 0; d < dim; d += kBlock) __builtin_prefetch(vector + d);
    }
    if (first < 0) continue;
    const int64_t present = std::min<int64_t>(W, count - first);
    Lanes<W> parts[W] = {};
    for (int64_t d = 0; d < whole; d += W) {
      Lanes<W> wanted;
      Load<W>(query.entries + d, wanted);
#pragma GCC unroll 16
      for (int64_t at = 0; at < W; ++at) {
        // The last vector stands in for those behind it.
        Lanes<W> own;
        Load<W>(vectors + rows[first + std::min(at, present - 1)] * dim + d, own);
        parts[at] += own * wanted;
      }
    }
    SumOfEach<W>(parts);
    for (int64_t at = 0; at < present; ++at) {
      float product = parts[0][at];
      const int32_t row = rows[first + at];
      for (int64_t d = whole; d < dim; ++d) product += vectors[row * dim + d] * query.entries[d];
      ranked.emplace_back(product, row);
    }
  }
}

// `SearchLeaves` with registers of W numbers.
template <int W>
TWOTOWER_INLINE void SearchLeavesWith(const Leaves& leaves, const float* embedding,
                                      int64_t num_chosen, int64_t depth, float* scores,
                                      int32_t* rows) {
  const Query query(embedding, leaves.dim);
  const int64_t block_bytes = BlockBytes(leaves.dim);
  Bounds of_leaves(BlocksOf(leaves.num_leaves));
  for (int64_t block = 0; block < BlocksOf(leaves.num_leaves); ++block) {
    BoundBlock<W>(leaves.centroid_codes + block * block_bytes, query, 0.0f,
               &of_leaves.least[block * kBlock], &of_leaves.most[block * kBlock]);
  }
  std::vector<int32_t> possible;
  KeepPossible<W>(of_leaves, num_chosen, possible);
  while (!possible.empty() && possible.back() >= leaves.num_leaves) possible.pop_back();
  std::vector<Ranked> chosen, found;
  Rank<W>(leaves.centroids, possible, query, chosen);
  chosen.resize(KeepFirst(chosen, num_chosen), Ranked(kNoNeighbour, kMissingRow));

  const int64_t blocks_of_leaf = BlocksOf(leaves.leaf_size);
  const int64_t leaf_bytes = blocks_of_leaf * block_bytes;
  Bounds of_vectors(chosen.size() * blocks_of_leaf);
  int64_t next = 0;
  for (size_t at = 0; at < chosen.size(); ++at) {
    const Ranked& leaf = chosen[at];
    const uint8_t* own = leaves.codes + leaf.row * leaf_bytes;
    const int32_t* own_rows = leaves.rows + leaf.row * leaves.leaf_size;
    // The next leaf lies elsewhere in memory, and is asked for while this one is multiplied.
    const int32_t after = chosen[std::min(at + 1, chosen.size() - 1)].row;
    for (int64_t block = 0; block < blocks_of_leaf; ++block, next += kBlock) {
      const uint8_t* ahead = leaves.codes + after * leaf_bytes + block * block_bytes;
      for (int64_t byte = 0; byte < block_bytes; byte += kCacheLine) __builtin_prefetch(ahead + byte);
      __builtin_prefetch(own_rows + block * kBlock);
      BoundBlock<W>(own + block * block_bytes, query, leaf.score, &of_vectors.least[next],
                 &of_vectors.most[next]);
    }
  }
  KeepPossible<W>(of_vectors, depth, possible);
  int64_t num_rows = 0;
  for (const int32_t place : possible) {
    const int64_t in_leaf = place % (blocks_of_leaf * kBlock);
    const int32_t leaf = chosen[place / (blocks_of_leaf * kBlock)].row;
    if (in_leaf >= leaves.leaf_size) continue;
    const int32_t row = leaves.rows[leaf * leaves.leaf_size + in_leaf];
    if (row >= 0 && row < leaves.num_rows) possible[num_rows++] = row;
  }
  possible.resize(num_rows);
  Rank<W>(leaves.vectors, possible, query, found);
  const int64_t kept = KeepFirst(found, depth);
  for (int64_t place = 0; place < depth; ++place) {
    scores[place] = place < kept ? found[place].score : kNoNeighbour;
    rows[place] = place < kept ? found[place].row : kMissingRow;
  }
}

// The `depth` candidates with the largest products among those of `num_chosen` leaves, in any order;
// kNoNeighbour and kMissingRow where there are fewer.
inline void SearchLeaves(const Leaves& leaves, const float* embedding, int64_t num_chosen,
                         int64_t depth, float* scores, int32_t* rows) {
  ForThisProcessor([&](auto lanes) TWOTOWER_KERNEL {
    SearchLeavesWith<lanes>(leaves, embedding, num_chosen, depth, scores, rows);
  });
}

}  // namespace twotower

#endif  // TWOTOWER_LEAF_SEARCH_H_
