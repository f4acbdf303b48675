// Twotower>LeafSearch: `leaf_search.h` as a TensorFlow operation.

#include <algorithm>
#include <cmath>
#include <vector>

#include "large_pages.h"
#include "leaf_search.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/util/work_sharder.h"

namespace {

using tensorflow::errors::InvalidArgument;
using Shape = tensorflow::TensorShape;
using Variable = tensorflow::core::RefCountPtr<tensorflow::Var>;
constexpr int kVariables = 5;

REGISTER_OP("Twotower>LeafSearch")
    .Input("centroids: resource")
    .Input("centroid_codes: resource")
    .Input("leaves: resource")
    .Input("rows: resource")
    .Input("vectors: resource")
    .Input("embeddings: float")
    .Input("num_leaves: int32")
    .Input("depth: int32")
    .Input("excluded: int32")
    .Output("scores: float")
    .Output("found: int32")
    .Output("complete: bool")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      tensorflow::shape_inference::ShapeHandle embeddings, scalar;
      TF_RETURN_IF_ERROR(context->WithRank(context->input(5), 2, &embeddings));
      TF_RETURN_IF_ERROR(context->WithRank(context->input(6), 0, &scalar));
      TF_RETURN_IF_ERROR(context->WithRank(context->input(7), 0, &scalar));
      context->set_output(2, context->Scalar());
      const auto lists = context->Matrix(context->Dim(embeddings, 0), context->UnknownDim());
      context->set_output(0, lists);
      context->set_output(1, lists);
      return tensorflow::OkStatus();
    })
    .Doc(R"doc(
Finds the candidates nearest to each query in the leaves whose centroids are nearest.

centroids, centroid_codes, leaves, rows, vectors: variables of a partitioned index; see
  leaf_search.h, where leaves are codes.
embeddings: [batch, dim].
num_leaves: leaves to look at.
depth: length of a list.
excluded: [batch, n] rows that may not be found; -1 is none. Nothing is searched where there is one,
  or an embedding that is not finite.
scores: [batch, depth], in any order; -inf where there are fewer.
found: [batch, depth] rows; -1 where there are fewer.
complete: whether there are queries, and all have `depth` candidates.
)doc");

class LeafSearch : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(tensorflow::OpKernelContext* context) override {
    Variable variables[kVariables];
    for (int input = 0; input < kVariables; ++input) {
      OP_REQUIRES_OK(context, LookupResource(context, HandleFromInput(context, input),
                                             &variables[input]));
    }
    tensorflow::tf_shared_lock first(*variables[0]->mu());
    tensorflow::tf_shared_lock second(*variables[1]->mu());
    tensorflow::tf_shared_lock third(*variables[2]->mu());
    tensorflow::tf_shared_lock fourth(*variables[3]->mu());
    tensorflow::tf_shared_lock fifth(*variables[4]->mu());
    const tensorflow::Tensor& centroids = *variables[0]->tensor();
    const tensorflow::Tensor& centroid_codes = *variables[1]->tensor();
    const tensorflow::Tensor& codes = *variables[2]->tensor();
    const tensorflow::Tensor& rows = *variables[3]->tensor();
    const tensorflow::Tensor& vectors = *variables[4]->tensor();
    const tensorflow::Tensor& embeddings = context->input(kVariables);
    OP_REQUIRES(context,
                centroids.dtype() == tensorflow::DT_FLOAT && centroids.dims() == 2 &&
                    centroid_codes.dtype() == tensorflow::DT_UINT8 && centroid_codes.dims() == 2 &&
                    codes.dtype() == tensorflow::DT_UINT8 && codes.dims() == 3 &&
                    rows.dtype() == tensorflow::DT_INT32 && rows.dims() == 2 &&
                    vectors.dtype() == tensorflow::DT_FLOAT && vectors.dims() == 2,
                InvalidArgument("the variables are not those of an index"));
    const twotower::Leaves leaves{
        centroids.flat<float>().data(), centroid_codes.flat<uint8_t>().data(),
        codes.flat<uint8_t>().data(),   rows.flat<int32_t>().data(),
        vectors.flat<float>().data(),   rows.dim_size(0),
        rows.dim_size(1),               vectors.dim_size(0),
        vectors.dim_size(1)};
    const int64_t block_bytes = twotower::BlockBytes(leaves.dim);
    OP_REQUIRES(context,
                leaves.num_leaves > 0 && leaves.leaf_size > 0 && leaves.dim > 0 &&
                    centroids.shape() == Shape({leaves.num_leaves, leaves.dim}) &&
                    centroid_codes.shape() ==
                        Shape({twotower::BlocksOf(leaves.num_leaves), block_bytes}) &&
                    codes.shape() == Shape({leaves.num_leaves, twotower::BlocksOf(leaves.leaf_size),
                                            block_bytes}),
                InvalidArgument("centroids ", centroids.shape().DebugString(), ", their codes ",
                                centroid_codes.shape().DebugString(), ", leaves ",
                                codes.shape().DebugString(), ", rows ", rows.shape().DebugString(),
                                " and vectors ", vectors.shape().DebugString(),
                                " do not fit together"));
    OP_REQUIRES(context, embeddings.dims() == 2 && embeddings.dim_size(1) == leaves.dim,
                InvalidArgument("embeddings are ", embeddings.shape().DebugString(), ", not [batch, ",
                                leaves.dim, "]"));
    const tensorflow::Tensor& wanted = context->input(kVariables + 1);
    const tensorflow::Tensor& length = context->input(kVariables + 2);
    OP_REQUIRES(context, wanted.dims() == 0 && length.dims() == 0,
                InvalidArgument("num_leaves and depth must be scalars"));
    const int64_t num_leaves = wanted.scalar<int32_t>()(), depth = length.scalar<int32_t>()();
    OP_REQUIRES(context,
                num_leaves >= 1 && num_leaves <= leaves.num_leaves && depth >= 1 &&
                    depth <= leaves.num_leaves * leaves.leaf_size,
                InvalidArgument(num_leaves, " leaves and a depth of ", depth, " of an index of ",
                                leaves.num_leaves, " leaves of ", leaves.leaf_size));
    const int64_t batch = embeddings.dim_size(0);
    const tensorflow::Tensor& excluded = context->input(kVariables + 3);
    OP_REQUIRES(context, excluded.dims() == 2 && excluded.dim_size(0) == batch,
                InvalidArgument("excluded rows are ", excluded.shape().DebugString(), ", not [", batch,
                                ", n]"));
    tensorflow::Tensor *scores = nullptr, *found = nullptr, *complete = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {batch, depth}, &scores));
    OP_REQUIRES_OK(context, context->allocate_output(1, {batch, depth}, &found));
    OP_REQUIRES_OK(context, context->allocate_output(2, {}, &complete));
    const float* queries = embeddings.flat<float>().data();
    float* all_scores = scores->flat<float>().data();
    int32_t* all_found = found->flat<int32_t>().data();
    const auto answer = [&](int64_t begin, int64_t end) {
      for (int64_t at = begin; at < end; ++at) {
        twotower::SearchLeaves(leaves, queries + at * leaves.dim, num_leaves, depth,
                               all_scores + at * depth, all_found + at * depth);
      }
    };
    const auto finite = [](float number) { return std::isfinite(number); };
    const int32_t* rows_left_out = excluded.flat<int32_t>().data();
    const bool is_usual =
        batch > 0 && std::all_of(queries, queries + embeddings.NumElements(), finite) &&
        std::all_of(rows_left_out, rows_left_out + excluded.NumElements(),
                    [](int32_t row) { return row == twotower::kMissingRow; });
    if (!is_usual) {
      std::fill_n(all_scores, batch * depth, twotower::kNoNeighbour);
      std::fill_n(all_found, batch * depth, twotower::kMissingRow);
      complete->scalar<bool>()() = false;
      return;
    }
    const int64_t cost = (leaves.num_leaves + num_leaves * leaves.leaf_size) * leaves.dim;
    const auto& workers = *context->device()->tensorflow_cpu_worker_threads();
    code_pages_.Hold(codes, workers.workers);
    vector_pages_.Hold(vectors, workers.workers);
    tensorflow::Shard(workers.num_threads, workers.workers, batch, cost, answer);
    complete->scalar<bool>()() = std::all_of(all_scores, all_scores + batch * depth, finite);
  }

 private:
  twotower::LargePages code_pages_, vector_pages_;
};

REGISTER_KERNEL_BUILDER(Name("Twotower>LeafSearch").Device(tensorflow::DEVICE_CPU), LeafSearch);

}  // namespace
