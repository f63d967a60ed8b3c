"""The operations that a graph from elsewhere may hold: those that compute."""

# A graph is a program, and some of TensorFlow's operations read, write or run what they like. These compute from their
# inputs alone. A graph may hold no others; what a network needs besides can be added here.
ADMITTED = frozenset("""
    Const Placeholder PlaceholderWithDefault Identity IdentityN NoOp StopGradient PreventGradient CheckNumerics
    Switch Merge If StatelessIf PartitionedCall StatefulPartitionedCall Assert Bitcast
    Conv2D Conv2DBackpropInput DepthwiseConv2dNative Conv3D Dilation2D MatMul BatchMatMul BatchMatMulV2 BatchMatMulV3
    Einsum BiasAdd BiasAddV1
    MaxPool MaxPoolV2 MaxPoolWithArgmax AvgPool FractionalMaxPool FractionalAvgPool LRN L2Loss
    BatchNormWithGlobalNormalization FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3
    Relu Relu6 LeakyRelu Elu Selu Softplus Softsign Sigmoid Tanh Softmax LogSoftmax Erf Erfc
    Add AddV2 AddN Sub Mul MulNoNan Div DivNoNan RealDiv FloorDiv TruncateDiv FloorMod Mod Neg Abs Sign Reciprocal Inv
    Square SquaredDifference Sqrt Rsqrt Pow Exp Expm1 Log Log1p Sin Cos Maximum Minimum Floor Ceil Round Rint
    ClipByValue IsFinite IsInf IsNan
    Equal NotEqual Less LessEqual Greater GreaterEqual LogicalAnd LogicalOr LogicalNot Select SelectV2 Where
    Sum Mean Max Min Prod All Any ArgMax ArgMin Cumsum TopK TopKV2 InTopK InTopKV2
    Concat ConcatV2 ConcatOffset Split SplitV Pack Unpack Reshape Squeeze ExpandDims Transpose Tile Fill
    Pad PadV2 MirrorPad Slice StridedSlice Gather GatherV2 GatherNd ScatterNd OneHot Range Reverse ReverseV2 Rank Shape
    ShapeN Size BroadcastTo BroadcastArgs ZerosLike OnesLike SpaceToBatch SpaceToBatchND BatchToSpace BatchToSpaceND
    SpaceToDepth DepthToSpace ExtractImagePatches MatrixDiag InvertPermutation DynamicStitch DynamicPartition
    Cast RandomUniform RandomStandardNormal TruncatedNormal StatelessRandomUniform StatelessRandomUniformV2
    StatelessRandomNormal StatelessRandomNormalV2 StatelessTruncatedNormal StatelessTruncatedNormalV2
    StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg StatelessRandomGetAlg
    ResizeBilinear ResizeNearestNeighbor ResizeBicubic ResizeArea CropAndResize RGBToHSV HSVToRGB AdjustContrastv2
    AdjustHue AdjustSaturation DecodeJpeg
    FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel QuantizeV2 Dequantize
    """.split())


def find_other(graph_def):
    """Looks for what a graph may not hold, in the functions that it brings along, too, and in what it may call.

    Args:
      graph_def: tf.GraphDef.

    Returns:
      str that says what is wrong with it; None for nothing.
    """
    functions = {function.signature.name for function in graph_def.library.function}
    bodies = [node for function in graph_def.library.function for node in function.node_def]
    for node in [*graph_def.node, *bodies]:
        if node.op not in ADMITTED:
            return (f'its operation {node.name!r} is a {node.op!r}, which is not admitted: only what networks compute '
                    'with is, since others can read and write files; expected an image classifier')
        called = [name for value in node.attr.values() for name in _called_by(value)]
        unknown = [name for name in called if name not in functions]
        if unknown:
            return f'its operation {node.name!r} calls the function {unknown[0]!r}, which is not in the graph'
    return None


def _called_by(value):
    return [function.name for function in [value.func, *value.list.func] if function.name]
