"""The stages as TFX components: pipelines for LocalDagRunner, Kubeflow and Vertex, and a Trainer.

Everything that imports TFX is imported when a pipeline is made, so that the rest of the project
needs no TFX; `environment.in` here names the packages of the environment that has it.
"""
