"""Any small convolution problem, for Hypothesis."""

from hypothesis import strategies as st

from striate.compiler.problem import ConvProblem

sizes = st.integers(1, 5)


@st.composite
def problems(draw, **fixed):
    """Any small problem: uneven channels, groups, strides beyond the kernel, asymmetric padding, batch 0.

    Every third is an ordinary layer of three taps and stride 1, or algorithms for those would hardly get any.
    """
    rank = draw(st.integers(1, 3))
    axes = st.lists(sizes, min_size=rank, max_size=rank).map(tuple)
    groups = draw(st.integers(1, 3))
    kernel, dilation, stride = draw(axes), draw(axes), draw(axes)
    if draw(st.integers(0, 2)) == 0:
        kernel, dilation, stride, groups = (3,) * rank, (1,) * rank, (1,) * rank, 1
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    pads = tuple(draw(st.tuples(st.integers(0, e), st.integers(0, e))) for e in extent)
    size = tuple(
        max(draw(st.integers(1, 6)), e - before - after) for e, (before, after) in zip(extent, pads, strict=True)
    )
    values = {
        "spatial_dims": rank,
        "batch": draw(st.integers(0, 2)),
        "in_channels": groups * draw(st.integers(1, 4)),
        "out_channels": groups * draw(st.integers(1, 20)),
        "input_size": size,
        "kernel_size": kernel,
        "stride": stride,
        "padding": pads,
        "dilation": dilation,
        "groups": groups,
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "pass_": draw(st.sampled_from(["forward", "grad_input", "grad_weight"])),
        "bias": draw(st.booleans()),
        "activation": draw(st.sampled_from([None, "relu", "relu6"])),
        "layout": draw(st.sampled_from(["channels_last", "contiguous"])),
    }
    values |= fixed
    if values["bias"] and values["pass_"] == "forward":
        values.setdefault("scale", draw(st.booleans()))
    return ConvProblem.of(**values)
