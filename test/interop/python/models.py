"""Makes models with the packages that people make them with, and what ONNX Runtime's Python binding answers to.

Writes good/NAME.onnx and golden/NAME.onnx.json into the folder it is given, laid out as test/kit/third-party.ts reads it:

    pip install -r test/interop/python/models-requirements.txt
    python test/interop/python/models.py DIR
    BELLWETHER_MODELS=DIR npx vitest run test/interop/third-party-models.test.ts test/e2e/third-party-models.test.ts
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from lightgbm import LGBMClassifier, LGBMRegressor
from onnx import TensorProto, helper, numpy_helper
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as MltoolsFloat
from skl2onnx import to_onnx
from sklearn import ensemble, linear_model, naive_bayes, neighbors, neural_network, svm, tree
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, PolynomialFeatures, RobustScaler, StandardScaler
from xgboost import XGBClassifier, XGBRegressor

OUT = Path(sys.argv[1])
WIDTH, ROWS, BATCH = 5, 400, 6
random = np.random.default_rng(4711)
X = random.normal(size=(ROWS, WIDTH)).astype(np.float32)
Y = (60 + 10 * X[:, 0] - 8 * X[:, 1] ** 2 + random.normal(size=ROWS)).astype(np.float32)
LABEL = (Y > np.median(Y)).astype(np.int64)
STATE = np.digitize(Y, np.quantile(Y, [0.3, 0.6])).astype(np.int64)
VECTORS = X[:BATCH]
REGRESSION = ["--meaning", "rul", "--unit", "h"]
CLASS = ["--meaning", "class"]
SCORE = ["--meaning", "score"]

for folder in ("good", "golden"):
    (OUT / folder).mkdir(parents=True, exist_ok=True)


def write(name, model, said, inputs=None):
    """Keeps a model with its answers to `inputs`; outputs that are no tensors stay out."""
    file = OUT / "good" / f"{name}.onnx"
    file.write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    first = session.get_inputs()[0].name
    feeds = inputs or {first: VECTORS}
    tensors = [one.name for one in session.get_outputs() if one.type.startswith("tensor")]
    answers = session.run(tensors, feeds)
    told = lambda value: {"shape": list(value.shape), "data": value.ravel().tolist()}
    golden = {
        "said": said,
        "inputs": {key: told(value) for key, value in feeds.items()},
        "outputs": {key: told(value) for key, value in zip(tensors, answers)},
    }
    (OUT / "golden" / f"{name}.onnx.json").write_text(json.dumps(golden))


def sklearn(name, estimator, target, said, **options):
    estimator.fit(X, target)
    try:
        model = to_onnx(estimator, X[:1], **options)
    except ValueError as cause:  # a converter of its own version, which the estimator's has overtaken
        return print(f"left out: {name}: {str(cause)[:80]}")
    write(f"sklearn_{name}", model, said)


REGRESSORS = {
    "linear": linear_model.LinearRegression(),
    "ridge_scaled": make_pipeline(StandardScaler(), linear_model.Ridge()),
    "lasso_polynomial": make_pipeline(PolynomialFeatures(2), linear_model.Lasso(0.1)),
    "bayesian_ridge": linear_model.BayesianRidge(),
    "huber_robust": make_pipeline(RobustScaler(), linear_model.HuberRegressor()),
    "tree": tree.DecisionTreeRegressor(max_depth=5),
    "forest": ensemble.RandomForestRegressor(20, max_depth=6),
    "extra_trees": ensemble.ExtraTreesRegressor(20, max_depth=6),
    "gradient_boosting": ensemble.GradientBoostingRegressor(n_estimators=30),
    "histogram_boosting": ensemble.HistGradientBoostingRegressor(max_iter=30),
    "adaboost": ensemble.AdaBoostRegressor(n_estimators=10),
    "mlp": make_pipeline(StandardScaler(), neural_network.MLPRegressor(hidden_layer_sizes=(16, 8), max_iter=300)),
    "svr": make_pipeline(StandardScaler(), svm.SVR()),
    "neighbours": neighbors.KNeighborsRegressor(4),
    "pca_linear": make_pipeline(MinMaxScaler(), PCA(3), linear_model.LinearRegression()),
    "gaussian_process": GaussianProcessRegressor(alpha=1.0),
}
CLASSIFIERS = {
    "logistic": (linear_model.LogisticRegression(), LABEL),
    "logistic_three": (make_pipeline(StandardScaler(), linear_model.LogisticRegression()), STATE),
    "naive_bayes": (naive_bayes.GaussianNB(), STATE),
    "forest_three": (ensemble.RandomForestClassifier(15, max_depth=5), STATE),
    "svc": (svm.SVC(), LABEL),
    "mlp_two": (neural_network.MLPClassifier(hidden_layer_sizes=(12,), max_iter=300), LABEL),
    "histogram_boosting_two": (ensemble.HistGradientBoostingClassifier(max_iter=20), LABEL),
}
# Left to themselves these are exported with a Scan, which Bellwether refuses.
DISTANCES = {"neighbours", "gaussian_process"}
for name, estimator in REGRESSORS.items():
    sklearn(name, estimator, Y, REGRESSION, **({"options": {"optim": "cdist"}} if name in DISTANCES else {}))
for name, (estimator, target) in CLASSIFIERS.items():
    zipped = hasattr(estimator, "predict_proba")
    sklearn(name, estimator, target, CLASS, **({"options": {"zipmap": False}} if zipped else {}))
# As most people export a classifier: probabilities in a ZipMap, which is no tensor; its label is one.
sklearn("logistic_zipmap", linear_model.LogisticRegression(), LABEL, CLASS)
probability = ["--meaning", "probability", "--primary", "probabilities:1"]
sklearn("logistic_probability", linear_model.LogisticRegression(), LABEL, probability, options={"zipmap": False})
opset = {"": 17, "ai.onnx.ml": 3}
sklearn("isolation_forest", ensemble.IsolationForest(n_estimators=15, random_state=1), None, SCORE, target_opset=opset)
sklearn("one_class_svm", svm.OneClassSVM(), None, SCORE)
sklearn("kmeans", KMeans(3, n_init=2), None, CLASS)

TYPES = [("input", MltoolsFloat([None, WIDTH]))]
boosted = LGBMRegressor(n_estimators=30, verbose=-1).fit(X, Y)
write("lightgbm_regressor", convert_lightgbm(boosted, initial_types=TYPES, target_opset=15), REGRESSION)
boosted = LGBMClassifier(n_estimators=20, verbose=-1).fit(X, STATE)
write("lightgbm_classifier", convert_lightgbm(boosted, initial_types=TYPES, target_opset=15, zipmap=False), CLASS)
boosted = XGBRegressor(n_estimators=30, max_depth=4).fit(X, Y)
write("xgboost_regressor", convert_xgboost(boosted, initial_types=TYPES, target_opset=15), REGRESSION)
boosted = XGBClassifier(n_estimators=20, max_depth=4).fit(X, LABEL)
write("xgboost_classifier", convert_xgboost(boosted, initial_types=TYPES, target_opset=15), CLASS)


def network(name, nodes, inputs, weights, shape_out, said, feeds):
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(key, kind, shape) for key, kind, shape in inputs],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape_out)],
        [numpy_helper.from_array(value, key) for key, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    write(name, model, said, feeds)


def floats(*shape):
    return random.normal(scale=0.4, size=shape).astype(np.float32)


HIDDEN, TIME = 7, 12
window = floats(BATCH, TIME, WIDTH)
for kind, gates in (("LSTM", 4), ("GRU", 3)):
    network(
        f"numpy_{kind.lower()}_window",
        [
            helper.make_node("Transpose", ["in"], ["time_first"], perm=[1, 0, 2]),
            helper.make_node(kind, ["time_first", "w", "r", "b"], ["", "last"], hidden_size=HIDDEN),
            helper.make_node("Squeeze", ["last", "axis"], ["state"]),
            helper.make_node("MatMul", ["state", "head"], ["out"]),
        ],
        [("in", TensorProto.FLOAT, ["batch", TIME, WIDTH])],
        {
            "w": floats(1, gates * HIDDEN, WIDTH),
            "r": floats(1, gates * HIDDEN, HIDDEN),
            "b": floats(1, 2 * gates * HIDDEN),
            "axis": np.array([0], np.int64),
            "head": floats(HIDDEN, 1),
        },
        ["batch", 1],
        REGRESSION,
        {"in": window},
    )
network(
    "numpy_convolution_window",
    [
        helper.make_node("Transpose", ["in"], ["channels_first"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["channels_first", "kernel"], ["features"], pads=[1, 1]),
        helper.make_node("Relu", ["features"], ["active"]),
        helper.make_node("ReduceMean", ["active"], ["mean"], axes=[2], keepdims=0),
        helper.make_node("Gemm", ["mean", "head", "bias"], ["out"]),
    ],
    [("in", TensorProto.FLOAT, ["batch", TIME, WIDTH])],
    {"kernel": floats(6, WIDTH, 3), "head": floats(6, 1), "bias": floats(1)},
    ["batch", 1],
    REGRESSION,
    {"in": window},
)
network(
    "numpy_two_inputs_of_two_types",
    [
        helper.make_node("Cast", ["left"], ["narrow"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["narrow", "right"], ["both"], axis=1),
        helper.make_node("MatMul", ["both", "head"], ["out"]),
    ],
    [("left", TensorProto.DOUBLE, ["batch", 2]), ("right", TensorProto.FLOAT, ["batch", 3])],
    {"head": floats(5, 1)},
    ["batch", 1],
    REGRESSION,
    {"left": VECTORS[:, :2].astype(np.float64), "right": VECTORS[:, 2:]},
)
print(f"{len(list((OUT / 'good').iterdir()))} models in {OUT}")
