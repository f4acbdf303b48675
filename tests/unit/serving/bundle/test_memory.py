from serving.bundle.measures import memory_estimate, model_bytes


def version(directory, size):
    for name, share in (
        ("saved_model.pb", size),
        ("variables/variables.data-00000-of-00001", 10 * size),
        ("assets/candidate_ids.txt", 2 * size),
        ("assets.extra/tf_serving_warmup_requests", 1000),
        ("refresh/vectors.npy", 5000),
    ):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * share)
    return directory


def test_what_a_server_loads_counts_and_what_lies_beside_it_does_not(tmp_path):
    assert model_bytes(version(tmp_path, 100)) == 100 + 1000 + 200


def test_two_versions_side_by_side(tmp_path):
    old, new = version(tmp_path / "1", 100), version(tmp_path / "2", 200)
    assert memory_estimate(new, old) == {
        "version_bytes": round(1.2 * 2600),
        "swap_bytes": round(1.2 * (1300 + 2600)),
    }
    assert memory_estimate(new, None)["swap_bytes"] == round(1.2 * 2 * 2600)
