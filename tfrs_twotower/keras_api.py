"""The one place that picks Keras 2. Everything else imports `keras` from here.

TensorFlow Recommenders 0.7.7 raises at import when `tf.keras` is Keras 3. The switch is an
environment variable that must be set before the first use of `tf.keras`; the package's
`__init__` sets it, and this module checks that it worked.
"""

import tensorflow as tf
import tf_keras as keras

if tf.keras.Model is not keras.Model:
    raise ImportError(
        "tf.keras is Keras 3, but TensorFlow Recommenders needs Keras 2. Something used tf.keras "
        "before tfrs_twotower was imported, or TF_USE_LEGACY_KERAS is set to "
        "something other than 1. Set TF_USE_LEGACY_KERAS=1 in the environment."
    )

__all__ = ["keras"]
