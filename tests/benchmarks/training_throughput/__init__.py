"""Training throughput of IntTowers on data of ML-1M's shape, against Keras and TFRS."""
