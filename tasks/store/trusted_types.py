"""Types a stored model may hold; a type that is neither here nor in the spec is never built.

A type is on the list after a review of its code: building it sets attributes from the file and runs
nothing that the file names. Functions are listed one by one, because a model calls them. Left out
on purpose: scipy's frozen distributions (they run code made from text), types that use the network
(skrub's ``LLMEncoder``), and libraries that read models with their own code (LightGBM, XGBoost). To
use them, name them in the spec's ``trusted``.
"""

from __future__ import annotations

from collections.abc import Sequence

TREES = (
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
)
LINEAR = (
    "sklearn._loss.loss.HalfTweedieLoss",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.multiclass._ConstantPredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
)
CALIBRATION = (
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.metrics._classification.balanced_accuracy_score",
    "sklearn.metrics._classification.f1_score",
    "sklearn.metrics._classification.log_loss",
    "sklearn.metrics._scorer._CurveScorer",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.metrics._scorer._Scorer",
)
NEIGHBOURS = (
    "sklearn.cluster._bisect_k_means._BisectingTree",
    "sklearn.cluster._kmeans._kmeans_single_lloyd",
    "sklearn.metrics._dist_metrics.ChebyshevDistance64",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.metrics._dist_metrics.HammingDistance64",
    "sklearn.metrics._dist_metrics.HaversineDistance64",
    "sklearn.metrics._dist_metrics.ManhattanDistance64",
    "sklearn.metrics._dist_metrics.MinkowskiDistance64",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
)
GAUSSIAN = (
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    *(
        f"sklearn.gaussian_process.kernels.{name}"
        for name in (
            "CompoundKernel",
            "ConstantKernel",
            "DotProduct",
            "ExpSineSquared",
            "Exponentiation",
            "Matern",
            "PairwiseKernel",
            "Product",
            "RBF",
            "RationalQuadratic",
            "Sum",
            "WhiteKernel",
        )
    ),
)
PREPARATION = (
    "numpy.clip",
    "numpy.mean",
    "numpy.nan_to_num",
    "scipy._lib.array_api_compat.numpy._aliases.asarray",
    "scipy.interpolate._bsplines.BSpline",
    "sklearn.compose._column_transformer.make_column_selector",
    "sklearn.feature_selection._mutual_info.mutual_info_classif",
    "sklearn.feature_selection._mutual_info.mutual_info_regression",
    "sklearn.feature_selection._univariate_selection.chi2",
    "sklearn.feature_selection._univariate_selection.f_classif",
    "sklearn.feature_selection._univariate_selection.f_regression",
    "sklearn.feature_selection._univariate_selection.r_regression",
    "sklearn.impute._iterative._ImputerTriplet",
    "sklearn.utils.validation.check_array",
)
PLAIN = (
    "collections.OrderedDict",
    "functools.partial",  # of a function that must be trusted itself
    "numpy.dtype",
    "scipy.sparse._csr.csr_matrix",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.model_selection._split.TimeSeriesSplit",
    "sklearn.utils._bunch.Bunch",
    "sklearn.utils._metadata_requests.MetadataRequest",
    "sklearn.utils._metadata_requests.MethodMetadataRequest",
)
SKRUB = tuple(
    f"skrub.{name}"
    for name in (
        "_apply_to_cols.ApplyToCols",
        "_apply_to_each_col.ApplyToEachCol",
        "_apply_to_sub_frame.ApplyToSubFrame",
        "_check_input.CheckInputDataFrame",
        "_clean_categories.CleanCategories",
        "_clean_null_strings.CleanNullStrings",
        "_dataframe._common.is_any_date",
        "_dataframe._common.is_bool",
        "_dataframe._common.is_categorical",
        "_dataframe._common.is_float",
        "_dataframe._common.is_integer",
        "_dataframe._common.is_numeric",
        "_dataframe._common.is_string",
        "_datetime_encoder.DatetimeEncoder",
        "_datetime_encoder._CircularEncoder",
        "_datetime_encoder._SplineEncoder",
        "_drop_uninformative.DropUninformative",
        "_duration_to_float.DurationToFloat",
        "_gap_encoder.GapEncoder",
        "_minhash_encoder.MinHashEncoder",
        "_select_cols.Drop",
        "_select_cols.DropCols",
        "_select_cols.SelectCols",
        "_squashing_scaler.SquashingScaler",
        "_squashing_scaler._MinMaxScaler",
        "_string_encoder.StringEncoder",
        "_table_vectorizer.Cleaner",
        "_table_vectorizer.PassThrough",
        "_table_vectorizer.ShortReprDict",
        "_table_vectorizer.TableVectorizer",
        "_table_vectorizer._created_by_predicate",
        "_to_categorical.ToCategorical",
        "_to_datetime.ToDatetime",
        "_to_float.ToFloat",
        "_to_str.ToStr",
        "_utils.LRUDict",
        "selectors._base.All",
        "selectors._base.And",
        "selectors._base.Cols",
        "selectors._base.Filter",
        "selectors._base.Inv",
        "selectors._base.NameFilter",
        "selectors._base.Or",
        "selectors._base.Sub",
        "selectors._base.XOr",
        "selectors._selectors._cardinality_below",
        "selectors._selectors._regex",
    )
)
TRUSTED_TYPES = tuple(
    sorted(
        (*TREES, *LINEAR, *CALIBRATION, *NEIGHBOURS, *GAUSSIAN, *PREPARATION, *PLAIN, *SKRUB),
    )
)
"""Types beyond skops' own defaults that any stored model may hold."""


def untrusted_types(content: bytes, trusted: Sequence[str]) -> list[str]:
    """Types in a stored model that neither skops nor ``trusted`` knows; sorted."""
    import skops.io

    return sorted(set(skops.io.get_untrusted_types(data=content)) - set(trusted))


def way_out(unknown: Sequence[str]) -> str:
    """What to write in the spec so that these types are trusted, where that is possible."""
    nameless = [name for name in unknown if "<" in name]
    if nameless:
        return (
            f"The model holds {nameless[0].rpartition('.')[2]}, which cannot be loaded by name. "
            "Define a function at the top level of the model file, and give the estimator that "
            "function."
        )
    listed = ", ".join(f'"{name}"' for name in unknown)
    comma = "," if len(unknown) == 1 else ""
    return (
        f"The model holds types that are not trusted: {', '.join(unknown)}. If you trust them, "
        f"add to the spec: trusted=({listed}{comma})"
    )
