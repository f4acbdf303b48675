// Exact scores of the vectors in the leaves whose centroids are nearest to a query.
//
// A leaf is one stretch of memory, so that nothing is copied before it is multiplied, as core
// operations do. Nothing here knows TensorFlow; see second_stage.h.

#ifndef TWOTOWER_LEAF_SEARCH_H_
#define TWOTOWER_LEAF_SEARCH_H_

#include <limits>
#include <vector>

#include "lanes.h"

namespace twotower {

constexpr float kNoNeighbour = -std::numeric_limits<float>::infinity();

struct Leaves {
  const float* centroids;  // [num_leaves, dim]
  const float* vectors;    // [num_leaves, leaf_size, dim]
  const int32_t* rows;     // [num_leaves, leaf_size], kMissingRow without a candidate
  int64_t num_leaves;
  int64_t leaf_size;
  int64_t dim;
};

// Inner products of consecutive vectors with a query, [count].
TWOTOWER_INLINE void Products(const float* vectors, int64_t count, int64_t dim, const float* query,
                              float* products) {
  const int64_t whole = dim - dim % kLanes;
  for (int64_t first = 0; first < count; first += kLanes) {
    const int64_t present = std::min(kLanes, count - first);
    Lanes parts[kLanes] = {};
    for (int64_t d = 0; d < whole; d += kLanes) {
      Lanes wanted;
      Load(query + d, wanted);
#pragma GCC unroll 16
      for (int64_t at = 0; at < kLanes; ++at) {
        // The last vector stands in for those behind it.
        Lanes own;
        Load(vectors + (first + std::min(at, present - 1)) * dim + d, own);
        parts[at] += own * wanted;
      }
    }
    SumOfEach(parts);
    std::memcpy(products + first, &parts[0], present * sizeof(float));
    for (int64_t at = 0; at < present; ++at) {
      for (int64_t d = whole; d < dim; ++d) {
        products[first + at] += vectors[(first + at) * dim + d] * query[d];
      }
    }
  }
}

// The `depth` candidates with the largest products among those of `num_chosen` leaves, in any order;
// kNoNeighbour and kMissingRow where there are fewer.
TWOTOWER_EACH_PROCESSOR
inline void SearchLeaves(const Leaves& leaves, const float* query, int64_t num_chosen, int64_t depth,
                         float* scores, int32_t* rows) {
  std::vector<float> products(std::max(leaves.num_leaves, leaves.leaf_size));
  Products(leaves.centroids, leaves.num_leaves, leaves.dim, query, products.data());
  std::vector<Ranked> chosen, found;
  chosen.reserve(leaves.num_leaves);
  for (int64_t leaf = 0; leaf < leaves.num_leaves; ++leaf) {
    chosen.emplace_back(products[leaf], leaf);
  }
  chosen.resize(KeepFirst(chosen, num_chosen), chosen.front());
  found.reserve(num_chosen * leaves.leaf_size);
  for (const Ranked& leaf : chosen) {
    const int32_t* own = leaves.rows + leaf.row * leaves.leaf_size;
    const float* vectors = leaves.vectors + leaf.row * leaves.leaf_size * leaves.dim;
    // Rows without a candidate are the last of their leaf.
    const int64_t count = std::find(own, own + leaves.leaf_size, kMissingRow) - own;
    Products(vectors, count, leaves.dim, query, products.data());
    for (int64_t at = 0; at < count; ++at) found.emplace_back(products[at], own[at]);
  }
  const int64_t kept = KeepFirst(found, depth);
  for (int64_t place = 0; place < depth; ++place) {
    scores[place] = place < kept ? found[place].score : kNoNeighbour;
    rows[place] = place < kept ? found[place].row : kMissingRow;
  }
}

}  // namespace twotower

#endif  // TWOTOWER_LEAF_SEARCH_H_
