"""Which of torch's operations are of which kind, and which cost nothing; all without `aten.`."""

from __future__ import annotations

FREE = frozenset(
    {
        "detach",
        "empty",
        "empty_like",
        "empty_strided",
        "is_same_size",
        "lift_fresh",
        "_local_scalar_dense",
        "new_empty",
        "new_empty_strided",
        "_reshape_alias",
        "resize_",
        "scalar_tensor",
        "set_",
        "sym_numel",
        "sym_size",
        "sym_stride",
        "_unsafe_view",
    }
)
MOVES_NOTHING = frozenset(
    {
        "as_strided_",
        "squeeze_",
        "t_",
        "transpose_",
        "unsafe_split",
        "unsafe_split_with_sizes",
        "unsqueeze_",
    }
)
"""Return what they are given, or parts of it, though torch does not call them views."""

OPS_OF_KIND = {
    "matrix product": "addmm addmv dot mm mv",
    "batched product": "baddbmm bmm",
    "batch norm": (
        "batch_norm_backward _batch_norm_with_update cudnn_batch_norm cudnn_batch_norm_backward "
        "native_batch_norm native_batch_norm_backward _native_batch_norm_legit "
        "_native_batch_norm_legit_functional _native_batch_norm_legit_no_training"
    ),
    "layer norm": (
        "_fused_rms_norm _fused_rms_norm_backward native_group_norm native_group_norm_backward "
        "native_layer_norm native_layer_norm_backward"
    ),
    "softmax": (
        "_log_softmax _log_softmax_backward_data _safe_softmax _softmax _softmax_backward_data"
    ),
    "pooling": (
        "_adaptive_avg_pool2d _adaptive_avg_pool2d_backward _adaptive_avg_pool3d "
        "_adaptive_avg_pool3d_backward adaptive_max_pool2d adaptive_max_pool2d_backward avg_pool2d "
        "avg_pool2d_backward avg_pool3d avg_pool3d_backward grid_sampler_2d "
        "grid_sampler_2d_backward grid_sampler_3d grid_sampler_3d_backward max_pool2d_with_indices "
        "max_pool2d_with_indices_backward max_pool3d_with_indices max_pool3d_with_indices_backward "
        "upsample_bicubic2d _upsample_bicubic2d_aa _upsample_bicubic2d_aa_backward "
        "upsample_bicubic2d_backward upsample_bilinear2d _upsample_bilinear2d_aa "
        "_upsample_bilinear2d_aa_backward upsample_bilinear2d_backward upsample_linear1d "
        "upsample_linear1d_backward upsample_nearest1d upsample_nearest1d_backward "
        "upsample_nearest2d upsample_nearest2d_backward upsample_nearest3d "
        "upsample_nearest3d_backward upsample_trilinear3d upsample_trilinear3d_backward"
    ),
    "reduction": (
        "all amax amin aminmax any argmax argmin binary_cross_entropy bincount cumprod cumsum "
        "histc huber_loss kthvalue linalg_vector_norm logcumsumexp logsumexp max mean median min "
        "mse_loss multinomial nll_loss2d_backward nll_loss2d_forward nll_loss_backward "
        "nll_loss_forward norm prod smooth_l1_loss sort std std_mean sum topk trace var var_mean"
    ),
    "copy": (
        "as_strided_copy as_strided_scatter cat channel_shuffle clone col2im constant_pad_nd "
        "contiguous copy copy_ diag_embed diagonal_backward flip im2col pixel_shuffle "
        "pixel_unshuffle reflection_pad1d reflection_pad1d_backward reflection_pad2d "
        "reflection_pad2d_backward repeat repeat_interleave replication_pad1d "
        "replication_pad1d_backward replication_pad2d replication_pad2d_backward roll rot90 "
        "select_backward slice_backward slice_scatter split_with_sizes_copy stack _to_copy "
        "unfold_backward"
    ),
    "lookup": (
        "embedding _embedding_bag _embedding_bag_dense_backward embedding_dense_backward gather "
        "gather_backward index index_add index_add_ index_copy_ index_put index_put_ "
        "_index_put_impl_ index_select masked_select nonzero scatter scatter_ scatter_add "
        "scatter_add_ _unsafe_index _unsafe_index_put"
    ),
    "elementwise": (
        "arange bernoulli_ bernoulli binary_cross_entropy_backward bucketize elu_backward "
        "exponential_ eye fill_ full full_like glu glu_backward hardshrink_backward "
        "hardsigmoid_backward hardswish hardswish_ hardswish_backward hardtanh_backward "
        "huber_loss_backward leaky_relu_backward linspace log_sigmoid_backward "
        "log_sigmoid_forward masked_fill masked_fill_ mish_backward mse_loss_backward "
        "native_dropout native_dropout_backward new_full new_ones new_zeros normal_ ones ones_like "
        "_prelu_kernel _prelu_kernel_backward rand rand_like randint randn randn_like random_ "
        "randperm rrelu_with_noise rrelu_with_noise_backward smooth_l1_loss_backward "
        "softplus_backward softshrink_backward tril triu uniform_ where zero_ zeros zeros_like"
    ),
}
"""Others that torch tags as pointwise are elementwise too."""

KIND_OF = {op: kind for kind, ops in OPS_OF_KIND.items() for op in ops.split()}
