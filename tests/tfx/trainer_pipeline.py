"""Stock components alone, with our `run_fn`: `python -m tests.tfx.trainer_pipeline ROOT RUN`."""

import sys
from pathlib import Path

from tfx import v1 as tfx


def make_pipeline(root: Path, run_config: str) -> tfx.dsl.Pipeline:
    """From the CSV of interactions to a pushed SavedModel."""
    tables = str(Path(run_config).parent / "tables")
    split = tfx.proto.Input(splits=[tfx.proto.Input.Split(name="train", pattern="Loans.csv")])
    examples = tfx.components.CsvExampleGen(input_base=tables, input_config=split)
    statistics = tfx.components.StatisticsGen(examples=examples.outputs["examples"])
    schema = tfx.components.SchemaGen(statistics=statistics.outputs["statistics"])
    validator = tfx.components.ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    )
    trainer = tfx.components.Trainer(
        run_fn="pipelines.tfx_dag.trainer_module.run_fn",
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        train_args=tfx.proto.TrainArgs(num_steps=20),
        custom_config={"run_config": run_config, "overrides": ["pre_ranking=null"]},
    )
    pusher = tfx.components.Pusher(
        model=trainer.outputs["model"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(root / "served"))
        ),
    )
    return tfx.dsl.Pipeline(
        pipeline_name="stock",
        pipeline_root=str(root),
        components=[examples, statistics, schema, validator, trainer, pusher],
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(root / "metadata.sqlite")
        ),
    )


if __name__ == "__main__":
    tfx.orchestration.LocalDagRunner().run(make_pipeline(Path(sys.argv[1]), sys.argv[2]))
