import numpy as np
import pytest
import tensorflow_recommenders as tfrs

from tests.contracts.gradients import gradient_of
from tests.reference import list_losses as reference
from tests.unit.tasks.batches import batch_of, second_share
from tfrs_twotower.tasks.terms import PreRankingTask

LOGITS = np.array([[2.0, 1.0, 0.0], [0.5, 0.0, 9.0]], np.float32)
TEACHER = np.array([[4.0, 1.0, 3.0], [1.0, 1.0, 7.0]], np.float32)
PRESENT = np.array([[True, True, True], [True, True, False]])
KINDS = ["list_softmax", "pointwise", "listwise_kl", "margin_mse"]


def softplus(x):
    return np.log1p(np.exp(x))


def test_it_is_a_tfrs_task():
    assert issubclass(PreRankingTask, tfrs.tasks.Task)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("list_softmax", [np.log(np.exp(2) + np.exp(1) + 1) - 2, softplus(-0.5)]),
        (
            "pointwise",
            [(softplus(-2) + softplus(1) + softplus(0)) / 3, (softplus(-0.5) + softplus(0)) / 2],
        ),
        # The teacher's margins are halved: (3, 1) / 2 and 0 / 2.
        ("margin_mse", [((1 - 1.5) ** 2 + (2 - 0.5) ** 2) / 2, (0.5 - 0.0) ** 2]),
    ],
)
def test_losses_by_hand(kind, expected):
    task = PreRankingTask(kind, teacher_temperature=2.0)
    losses = task.losses_per_list(LOGITS, present=PRESENT, teacher=TEACHER)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_terms_of_a_batch_equal_the_references(seed):
    batch = second_share(seed)
    logits, teacher = batch.mined.logits.numpy(), batch.mined.teacher.numpy()
    present = batch.mined.present.numpy()
    labels = np.eye(4)[np.zeros(3, int)]
    expected = {
        "list_softmax": [
            np.log(np.exp(row[mask]).sum()) - row[0]
            for row, mask in zip(logits, present, strict=True)
        ],
        "pointwise": reference.binary_cross_entropy(logits, labels, present),
        "listwise_kl": reference.listwise_kl(
            logits, teacher, teacher_temperature=0.5, student_temperature=1.0, present=present
        ),
        "margin_mse": reference.margin_mse(logits, teacher / 0.5, present),
    }
    for kind, losses in expected.items():
        task = PreRankingTask(kind, weight=0.3, teacher_temperature=0.5)
        assert (task.name, task.weight) == (kind, 0.3)
        np.testing.assert_allclose(task.losses_of(batch), losses, rtol=1e-4, err_msg=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind):
    task = PreRankingTask(kind)

    def loss(logits):
        return task.losses_per_list(logits, present=PRESENT, teacher=TEACHER)

    (gradient,) = gradient_of(loss, LOGITS)
    assert gradient[1, 2] == 0.0
    assert (gradient[PRESENT] != 0.0).all()
    changed = LOGITS.copy()
    changed[1, 2] = -50.0
    np.testing.assert_array_equal(loss(changed), loss(LOGITS))


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_with_only_the_positive_has_no_ranking_loss(kind):
    alone = np.array([[True, False, False]])
    task = PreRankingTask(kind)
    (loss,) = task.losses_per_list(LOGITS[:1], present=alone, teacher=TEACHER[:1]).numpy()
    assert loss == pytest.approx(softplus(-2.0) if kind == "pointwise" else 0.0)


def test_called_as_a_task_it_is_the_weighted_mean():
    weights = np.array([3.0, 1.0], np.float32)
    task = PreRankingTask("margin_mse")
    losses = task.losses_per_list(LOGITS, teacher=TEACHER).numpy()
    assert float(task(LOGITS, teacher=TEACHER, sample_weight=weights)) == pytest.approx(
        (3 * losses[0] + losses[1]) / 4
    )


@pytest.mark.parametrize("kind", ["listwise_kl", "margin_mse"])
def test_distillation_needs_a_teacher(kind):
    with pytest.raises(ValueError, match=f"{kind} needs a teacher's scores; set mining.teacher"):
        PreRankingTask(kind).losses_per_list(LOGITS)


def test_terms_over_lists_need_lists():
    with pytest.raises(ValueError, match="pointwise needs mined lists, and the batch has none"):
        PreRankingTask("pointwise").losses_of(batch_of(np.eye(2), np.eye(2)))
