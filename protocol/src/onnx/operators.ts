// Operators a model may use. Each computes a bounded result from its inputs, always the same one, and touches nothing
// outside. Not here on purpose: Loop, Scan and SequenceMap (see docs/decisions/0010), random generators (their outputs
// cannot be proven by golden vectors), StringNormalizer (needs a locale that devices may lack), training operators, image
// decoders, optionals.

const ONNX = `
Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool BatchNormalization BitCast
BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow Cast CastLike Ceil Celu CenterCropPad Clip Col2Im
Compress Concat ConcatFromSequence Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh CumProd CumSum DFT
DeformConv DepthToSpace DequantizeLinear Det Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike
Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater
GreaterOrEqual GridSample GroupNormalization HammingWindow HannWindow HardSigmoid HardSwish Hardmax Identity If
InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization
LpPool MatMul MatMulInteger Max MaxPool MaxRoiPool MaxUnpool Mean MeanVarianceNormalization MelWeightMatrix Min Mish Mod
Mul Neg NonMaxSuppression NonZero Not OneHot Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear RMSNormalization
RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
ReduceSumSquare RegexFullMatch Relu Reshape Resize ReverseSequence RoiAlign RotaryEmbedding Round STFT ScatterElements
ScatterND Scatter Selu SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength Shape
Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split SplitToSequence Sqrt Squeeze
StringConcat StringSplit Sub Sum Swish Tan Tanh TensorScatter TfIdfVectorizer ThresholdedRelu Tile TopK
Transpose Trilu Unique Unsqueeze Upsample Where Xor`;

/** Classical machine learning (scikit-learn, XGBoost, LightGBM). */
const ONNX_ML = `
ArrayFeatureExtractor Binarizer CategoryMapper FeatureVectorizer Imputer LabelEncoder LinearClassifier LinearRegressor
Normalizer OneHotEncoder SVMClassifier SVMRegressor Scaler TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor
ZipMap`;

/** What ONNX Runtime's own quantisation and optimisation tools write, and CDist for neighbours and Gaussian processes. */
const MICROSOFT = `
BiasGelu CDist ConvTransposeWithDynamicPads DequantizeLinear DynamicQuantizeLSTM DynamicQuantizeMatMul FastGelu FusedConv
FusedGemm FusedMatMul Gelu MatMulIntegerToFloat MatMulNBits NhwcMaxPool QGemm QLinearAdd QLinearAveragePool
QLinearConcat QLinearConv QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearReduceMean QLinearSigmoid
QLinearSoftmax QLinearWhere QuantizeLinear QuickGelu SkipLayerNormalization`;

const words = (text: string): ReadonlySet<string> => new Set(text.trim().split(/\s+/));

/** Allowed operators by domain; "" is ONNX's own. */
export const OPERATORS: Readonly<Record<string, ReadonlySet<string>>> = {
  "": words(ONNX),
  "ai.onnx.ml": words(ONNX_ML),
  "com.microsoft": words(MICROSOFT),
};

/** Newest operator set of each domain that the pinned ONNX Runtime (1.27.0) loads; measured. */
export const OPSETS_MAX: Readonly<Record<string, number>> = { "": 26, "ai.onnx.ml": 5, "com.microsoft": 1 };

/** Operators that repeat a graph: how often may depend on what arrives. */
export const REPEATING: ReadonlySet<string> = new Set(["Loop", "Scan", "SequenceMap"]);
