// Runs second_stage.h and leaf_search.h on ten thousand inputs under the sanitizers, with registers
// of every kind: every buffer is exactly as long as it has to be. Half of the inputs have products
// that float32 holds exactly, so that every kind must give the same numbers.

#include <cstdio>
#include <memory>
#include <random>

#include "leaf_search.h"
#include "second_stage.h"

constexpr std::integer_sequence<int, 4, 8, 16> kWidths;

template <class Work, int... kWidth>
void ForEach(const Work& work, std::integer_sequence<int, kWidth...>) {
  (work(std::integral_constant<int, kWidth>()), ...);
}

// Whether both hold the same; `earlier` is empty before the first comparison.
template <class Number>
bool Same(std::vector<Number>& earlier, const std::unique_ptr<Number[]>& found, int64_t count) {
  const std::vector<Number> now(found.get(), found.get() + count);
  if (earlier.empty()) earlier = now;
  return earlier == now;
}

int main() {
  std::mt19937 random(7);
  const auto below = [&](int64_t limit) { return static_cast<int64_t>(random() % limit); };
  int64_t checked = 0;
  for (int round = 0; round < 2000; ++round) {
    std::vector<twotower::Member> members;
    for (int64_t number = below(4); number > 0; --number) {
      members.push_back({1 + below(6), 1 + below(6), 16 * (1 + below(5)), 0.5f});
    }
    const bool int8 = below(2) == 1;
    int64_t row_bytes = twotower::UsedBytes(members, int8);
    row_bytes += -row_bytes % 4 + 4 * (1 + below(3));
    row_bytes -= row_bytes % 4;
    const int64_t num_rows = 1 + below(9), listed = below(80), k = 1 + below(90);
    // Of float, so that it is aligned as a tensor is.
    std::unique_ptr<float[]> bytes(new float[num_rows * row_bytes / 4]);
    auto* raw = reinterpret_cast<uint8_t*>(bytes.get());
    const bool exact = round % 2 == 0;
    for (int64_t at = 0; at < num_rows * row_bytes; ++at) raw[at] = random();
    for (int64_t at = 0; exact && at < num_rows * row_bytes / 4; ++at) {
      const int64_t number = at % (row_bytes / 4);
      int64_t num_numbers = 1;
      for (const auto& member : members) num_numbers += member.candidate_heads;
      if (!int8 || number < num_numbers) bytes[at] = below(9) - 4;
    }
    std::unique_ptr<float[]> query(new float[twotower::QueryWidth(members)]);
    for (int64_t at = 0; at < twotower::QueryWidth(members); ++at) query[at] = below(9) - 4;
    std::unique_ptr<int32_t[]> rows(new int32_t[listed]), best_rows(new int32_t[k]);
    std::unique_ptr<float[]> scores(new float[listed]), best_scores(new float[k]);
    for (int64_t at = 0; at < listed; ++at) rows[at] = below(num_rows + 1) - 1;
    std::vector<float> same_scores;
    std::vector<int32_t> same_rows;
    bool sound = true;
    ForEach([&](auto width) {
      for (int64_t at = 0; at < listed; ++at) scores[at] = at % 5;
      twotower::ScoreRowsWith<width>({raw, num_rows, row_bytes, int8}, members, query.get(),
                                     rows.get(), listed, scores.get());
      twotower::KeepBest(scores.get(), rows.get(), listed, k, best_scores.get(), best_rows.get());
      for (int64_t at = 0; at < k; ++at) {
        sound &= best_rows[at] >= -1 && best_rows[at] < num_rows && !std::isnan(best_scores[at]);
        sound &= at == 0 || best_scores[at] <= best_scores[at - 1];
        ++checked;
      }
      if (exact) sound &= Same(same_scores, best_scores, k) && Same(same_rows, best_rows, k);
    }, kWidths);
    if (!sound) return 1;
  }
  for (int round = 0; round < 8000; ++round) {
    const int64_t num_leaves = 1 + below(40), leaf_size = 1 + below(40), dim = 1 + below(70);
    const int64_t num_rows = 1 + below(50), block_bytes = twotower::BlockBytes(dim);
    const int64_t blocks_of_leaf = twotower::BlocksOf(leaf_size);
    const auto numbers = [&](int64_t count) {
      std::unique_ptr<float[]> made(new float[count]);
      for (int64_t at = 0; at < count; ++at) made[at] = below(9) - 4;
      return made;
    };
    // Of any bytes, as no packing made them: NaN, infinity, places that should be empty.
    const auto blocks = [&](int64_t count) {
      std::unique_ptr<float[]> made(new float[count * block_bytes / 4]);
      auto* raw = reinterpret_cast<uint8_t*>(made.get());
      for (int64_t at = 0; at < count * block_bytes; ++at) raw[at] = random();
      for (int64_t at = 0; at < count && round % 2 == 0; ++at) {
        for (int64_t number = 0; number < twotower::kNumbersOfBlock; ++number) {
          made[at * block_bytes / 4 + number] = 0.01f * below(9);
        }
      }
      return made;
    };
    const auto centroids = numbers(num_leaves * dim), vectors = numbers(num_rows * dim);
    const auto query = numbers(dim);
    constexpr float kHostile[] = {std::numeric_limits<float>::quiet_NaN(),
                                  std::numeric_limits<float>::infinity(),
                                  std::numeric_limits<float>::max(),
                                  std::numeric_limits<float>::denorm_min(), 0.0f};
    const float hostile = kHostile[below(5)];
    if (round % 4 == 1) query[below(dim)] = hostile;
    const bool finite = round % 4 != 1 || hostile < 1.0f;
    const auto centroid_codes = blocks(twotower::BlocksOf(num_leaves));
    const auto codes = blocks(num_leaves * blocks_of_leaf);
    std::unique_ptr<int32_t[]> rows(new int32_t[num_leaves * leaf_size]);
    for (int64_t at = 0; at < num_leaves * leaf_size; ++at) {
      rows[at] = below(4) == 0 ? static_cast<int32_t>(random()) : below(num_rows + 2) - 1;
    }
    const int64_t chosen = 1 + below(num_leaves), depth = 1 + below(num_leaves * leaf_size);
    std::unique_ptr<float[]> scores(new float[depth]);
    std::unique_ptr<int32_t[]> found(new int32_t[depth]);
    std::vector<float> same_scores;
    std::vector<int32_t> same_found;
    bool sound = true;
    ForEach([&](auto width) {
      twotower::SearchLeavesWith<width>(
          {centroids.get(), reinterpret_cast<uint8_t*>(centroid_codes.get()),
           reinterpret_cast<uint8_t*>(codes.get()), rows.get(), vectors.get(), num_leaves, leaf_size,
           num_rows, dim},
          query.get(), chosen, depth, scores.get(), found.get());
      for (int64_t at = 0; at < depth; ++at) {
        sound &= found[at] >= -1 && found[at] < num_rows && !(finite && std::isnan(scores[at]));
        ++checked;
      }
      if (round % 2 == 0) sound &= Same(same_scores, scores, depth) && Same(same_found, found, depth);
    }, kWidths);
    if (!sound) return 1;
  }
  std::printf("%ld\n", static_cast<long>(checked));
  return 0;
}
