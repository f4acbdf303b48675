// Twotower>SecondStage: `second_stage.h` as a TensorFlow operation.

#include <algorithm>
#include <vector>

#include "large_pages.h"
#include "second_stage.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/util/work_sharder.h"

namespace {

using tensorflow::Status;
using tensorflow::errors::InvalidArgument;

// The table is a handle, because a tensor would be copied at every call.
REGISTER_OP("Twotower>SecondStage")
    .Input("table: resource")
    .Input("rows: int32")
    .Input("scores: float")
    .Input("query_heads: float")
    .Attr("num_query_heads: list(int) >= 0")
    .Attr("num_candidate_heads: list(int) >= 0")
    .Attr("head_dims: list(int) >= 0")
    .Attr("factors: list(float) >= 0")
    .Attr("storage: {'float32', 'int8'}")
    .Attr("k: int >= 1")
    .Output("best_scores: float")
    .Output("best_rows: int32")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      tensorflow::shape_inference::ShapeHandle rows, scores, heads;
      TF_RETURN_IF_ERROR(context->WithRank(context->input(1), 2, &rows));
      TF_RETURN_IF_ERROR(context->WithRank(context->input(2), 2, &scores));
      TF_RETURN_IF_ERROR(context->WithRank(context->input(3), 2, &heads));
      int k;
      TF_RETURN_IF_ERROR(context->GetAttr("k", &k));
      const auto best = context->MakeShape({context->Dim(rows, 0), k});
      context->set_output(0, best);
      context->set_output(1, best);
      return tensorflow::OkStatus();
    })
    .Doc(R"doc(
Scores listed candidates with the heads of a packed table, and keeps the best k of each list.

table: a variable of bytes, [num_candidates, row_bytes]; see second_stage.h.
rows: [batch, n]; a negative row is no candidate.
scores: [batch, n], what each score starts from.
query_heads: [batch, width]: the query's heads of all members, one after the other.
best_scores: [batch, k], descending; the lowest float32 where there are fewer.
best_rows: [batch, k], ascending where scores are equal; -1 where there are fewer.
)doc");

class SecondStage : public tensorflow::OpKernel {
 public:
  explicit SecondStage(tensorflow::OpKernelConstruction* context) : OpKernel(context) {
    std::vector<int64_t> query_heads, candidate_heads, dims;
    std::vector<float> factors;
    std::string storage;
    OP_REQUIRES_OK(context, context->GetAttr("num_query_heads", &query_heads));
    OP_REQUIRES_OK(context, context->GetAttr("num_candidate_heads", &candidate_heads));
    OP_REQUIRES_OK(context, context->GetAttr("head_dims", &dims));
    OP_REQUIRES_OK(context, context->GetAttr("factors", &factors));
    OP_REQUIRES_OK(context, context->GetAttr("storage", &storage));
    OP_REQUIRES_OK(context, context->GetAttr("k", &k_));
    int8_ = storage == "int8";
    const size_t count = factors.size();
    OP_REQUIRES(context,
                query_heads.size() == count && candidate_heads.size() == count &&
                    dims.size() == count,
                InvalidArgument("each member has a number of query heads, a number of candidate "
                                "heads, a dimension and a factor"));
    for (size_t at = 0; at < count; ++at) {
      // Limits far above any model, below which no product of two overflows.
      for (const int64_t number : {query_heads[at], candidate_heads[at], dims[at]}) {
        OP_REQUIRES(context, number >= 1 && number <= kLargestNumber,
                    InvalidArgument("a number of heads or a dimension is ", number,
                                    ", allowed are 1 to ", kLargestNumber));
      }
      OP_REQUIRES(context, dims[at] % twotower::kBlock == 0,
                  InvalidArgument("a dimension is ", dims[at], ", not a multiple of ",
                                  twotower::kBlock));
      members_.push_back({query_heads[at], candidate_heads[at], dims[at], factors[at]});
    }
  }

  void Compute(tensorflow::OpKernelContext* context) override {
    tensorflow::core::RefCountPtr<tensorflow::Var> variable;
    OP_REQUIRES_OK(context,
                   LookupResource(context, tensorflow::HandleFromInput(context, 0), &variable));
    tensorflow::tf_shared_lock lock(*variable->mu());
    const tensorflow::Tensor& packed = *variable->tensor();
    const tensorflow::Tensor& rows = context->input(1);
    const tensorflow::Tensor& given = context->input(2);
    const tensorflow::Tensor& query = context->input(3);
    OP_REQUIRES_OK(context, Check(packed, rows, given, query));
    const int64_t batch = rows.dim_size(0), listed = rows.dim_size(1), width = query.dim_size(1);
    const twotower::Table table{packed.flat<uint8_t>().data(), packed.dim_size(0),
                                packed.dim_size(1), int8_};
    const int32_t* all_rows = rows.flat<int32_t>().data();
    for (int64_t at = 0; at < batch * listed; ++at) {
      OP_REQUIRES(context, all_rows[at] < table.num_rows,
                  InvalidArgument("row ", all_rows[at], " of a table of ", table.num_rows));
    }
    tensorflow::Tensor *best_scores = nullptr, *best_rows = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {batch, k_}, &best_scores));
    OP_REQUIRES_OK(context, context->allocate_output(1, {batch, k_}, &best_rows));
    const float* all_given = given.flat<float>().data();
    const float* all_queries = query.flat<float>().data();
    float* found_scores = best_scores->flat<float>().data();
    int32_t* found_rows = best_rows->flat<int32_t>().data();
    const auto answer = [&](int64_t first, int64_t end) {
      std::vector<float> scores(listed);
      for (int64_t at = first; at < end; ++at) {
        const int32_t* own = all_rows + at * listed;
        std::copy_n(all_given + at * listed, listed, scores.begin());
        twotower::ScoreRows(table, members_, all_queries + at * width, own, listed,
                            scores.data());
        twotower::KeepBest(scores.data(), own, listed, k_, found_scores + at * k_,
                           found_rows + at * k_);
      }
    };
    const auto& workers = *context->device()->tensorflow_cpu_worker_threads();
    pages_.Hold(packed, workers.workers);
    tensorflow::Shard(workers.num_threads, workers.workers, batch, listed * width, answer);
  }

 private:
  static constexpr int64_t kLargestNumber = 1 << 16;

  Status Check(const tensorflow::Tensor& packed, const tensorflow::Tensor& rows,
               const tensorflow::Tensor& given, const tensorflow::Tensor& query) const {
    if (packed.dtype() != tensorflow::DT_UINT8 || packed.dims() != 2) {
      return InvalidArgument("the table is ", packed.DebugString(0), ", not rows of bytes");
    }
    if (packed.dim_size(1) < twotower::UsedBytes(members_, int8_) ||
        packed.dim_size(1) % sizeof(float) != 0) {
      return InvalidArgument("a row of the table has ", packed.dim_size(1), " bytes, its heads take ",
                             twotower::UsedBytes(members_, int8_), " and whole float32");
    }
    if (rows.dims() != 2 || rows.shape() != given.shape()) {
      return InvalidArgument("rows ", rows.shape().DebugString(), " and scores ",
                             given.shape().DebugString(), " must be alike, [batch, n]");
    }
    if (query.dims() != 2 || query.dim_size(0) != rows.dim_size(0) ||
        query.dim_size(1) != twotower::QueryWidth(members_)) {
      return InvalidArgument("query heads are ", query.shape().DebugString(), ", not [",
                             rows.dim_size(0), ", ", twotower::QueryWidth(members_), "]");
    }
    return tensorflow::OkStatus();
  }

  std::vector<twotower::Member> members_;
  int64_t k_ = 0;
  bool int8_ = false;
  twotower::LargePages pages_;
};

REGISTER_KERNEL_BUILDER(Name("Twotower>SecondStage").Device(tensorflow::DEVICE_CPU), SecondStage);

}  // namespace
