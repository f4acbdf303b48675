"""The library without extras: all of it imports, a model trains; what needs an extra says so."""

import re

import pytest

from tests.packaging.fresh_process import EXTRAS, ROOT, output_of, run
from tfrs_twotower.environment import how_to_install

HOW = "`pip install 'tfrs-twotower[{extra}]'`, or `pip install '.[{extra}]'` in a checkout"
COMMAND = """
sys.argv = ["twotower", *{}]
from tfrs_twotower.__main__ import main
main()
"""

IMPORT_EVERYTHING = """
import pkgutil, tfrs_twotower
from tfrs_twotower.errors import MissingExtra
def walk(package):
    for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        try:
            module = __import__(found.name, fromlist=["_"])
        except MissingExtra:
            print("REFUSED", found.name)
            continue
        if found.ispkg:
            walk(module)
walk(tfrs_twotower)
for name in tfrs_twotower.__all__:
    getattr(tfrs_twotower, name)
print("LOADED", *sorted({name.partition(".")[0] for name in sys.modules}))
"""

TRAIN_SOMEBODYS_MODEL = """
import numpy as np
import tfrs_twotower as tt
import tensorflow as tf, tensorflow_recommenders as tfrs
from tfrs_twotower.keras_api import keras

class Model(tfrs.Model):
    def __init__(self):
        super().__init__()
        self.users, self.movies = keras.layers.Embedding(20, 8), keras.layers.Embedding(20, 8)
        self.task = tt.RetrievalTask(temperature=1.0)

    def compute_loss(self, features, training=False):
        ids = features["movie"]
        return self.task(self.users(features["user"]), self.movies(ids), candidate_ids=ids)

pairs = np.tile(np.arange(20), 20)
data = tf.data.Dataset.from_tensor_slices({"user": pairs, "movie": pairs}).shuffle(400, 1).batch(40)
model = Model()
model.compile(optimizer=keras.optimizers.Adagrad(0.5))
model.fit(data, epochs=8, verbose=0)
movies = tt.embed(model.movies, np.arange(20))
layer = tt.ExactTopK(model.users, k=1).index(tf.constant(movies), tf.range(20))
print("FOUND", int((layer(tf.range(20))[1].numpy()[:, 0] == np.arange(20)).sum()))
metrics = tt.evaluate(tt.embed(model.users, np.arange(20)), movies, np.arange(20)[:, None], ks=(5,))
print("RECALL", metrics["recall@5"].mean)
"""

NEEDS = [
    ("pipelines.transforms", "a Beam stage needs apache_beam", "pipelines"),
    ("pipelines.stages.embed", "a Beam stage needs apache_beam", "pipelines"),
    ("pipelines.datasets.fetch", "a public data set needs pandas", "pipelines"),
    ("serving.bundle.writing", "a bundle needs tensorflow_serving", "serve"),
    ("serving.server.local_server", "the local server needs", "serve"),
    ("serving.client.client", "a client needs grpc", "client"),
    ("serving.load_test.running", "a load test needs locust", "loadtest"),
    (
        "tfrs_twotower.evaluation.report.report_page",
        "the report page needs jinja2 and matplotlib",
        "report",
    ),
]


def test_the_whole_library_imports_without_extras():
    lines = output_of(IMPORT_EVERYTHING, without=EXTRAS).splitlines()
    refused = [line.split()[1] for line in lines if line.startswith("REFUSED")]
    # Pages and pictures are the extra [report].
    assert refused == ["tfrs_twotower.evaluation.comparison", "tfrs_twotower.evaluation.report"]
    loaded = lines[-1].split()[1:]
    assert "tensorflow" in loaded
    assert set(loaded) & set(EXTRAS) == set()


def test_somebodys_model_trains_without_extras():
    lines = output_of(TRAIN_SOMEBODYS_MODEL, without=EXTRAS).splitlines()
    assert lines[-2:] == ["FOUND 20", "RECALL 1.0"]


@pytest.mark.parametrize(("module", "message", "extra"), NEEDS)
def test_a_room_names_the_extra_that_it_needs(module, message, extra):
    code = f"from tfrs_twotower.errors import MissingExtra\ntry:\n    import {module}\n"
    code += "except MissingExtra as error:\n    print(error)"
    found = output_of(code, without=EXTRAS)
    assert found.startswith(message)
    assert HOW.format(extra=extra) in found


def test_the_command_names_its_extra_and_exits_with_2():
    code = "import runpy\nsys.argv = ['twotower', '--help']\n"
    result = run(code + "runpy.run_module('pipelines', run_name='__main__')", without=EXTRAS)
    assert result.returncode == 2
    assert result.stderr.startswith("twotower: the command twotower needs typer and rich")
    assert "pip install 'tfrs-twotower[cli]'" in result.stderr


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("serve", "serve"),
        ("recall-check", "client"),
        ("run", "pipelines"),
        ("demo", "pipelines"),
        ("compare", "pipelines"),
        ("tune", "tune"),
    ],
)
def test_a_command_without_its_extra_exits_with_2(command, extra, tmp_path):
    """And the extra that it names is enough: those that it includes are not named one by one."""
    arguments = {
        "serve": [str(tmp_path)],
        "recall-check": ["grpc://localhost:1/m", "--bundle", str(tmp_path)],
        "run": ["movielens_100k", "--workdir", str(tmp_path)],
        "demo": ["--workdir", str(tmp_path)],
        "compare": ["movielens_100k", "--workdir", str(tmp_path)],
        "tune": ["movielens_100k", "--workdir", str(tmp_path), "--trials", "2"],
    }[command]
    absent = [name for name in EXTRAS if name not in ("typer", "rich")]
    result = run(COMMAND.format([command, *arguments]), without=absent)
    assert (result.returncode, result.stdout) == (2, "")
    assert f"which this environment lacks. Install the extra [{extra}]:" in result.stderr


def test_a_run_says_that_scann_is_missing_before_it_reads_tables(tmp_path):
    code = COMMAND.format(["run", "movielens_100k", "--workdir", str(tmp_path)])
    result = run(code, without=["scann"], TWOTOWER_DATA=str(tmp_path / "no tables here"))
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("twotower: ScaNN is not installed")
    assert HOW.format(extra="scann") in result.stderr


def test_how_to_install_an_extra_is_written_in_one_place():
    """So that all messages agree, and name what works in a checkout too."""
    assert how_to_install("x") == HOW.format(extra="x")
    rooms = ("tfrs_twotower", "serving", "pipelines")
    sources = {path: path.read_text() for room in rooms for path in (ROOT / room).rglob("*.py")}
    pattern = re.compile(r"pip install [^`\n]*(?:tfrs-twotower|DISTRIBUTION|\.\[)")
    found = [path.relative_to(ROOT) for path, text in sources.items() if pattern.search(text)]
    assert [str(path) for path in found] == ["tfrs_twotower/environment.py"]
