"""The command line. It calls stages and the public Python API, and holds no logic of its own."""
