"""Room `ranking`: order, top k, overlap, ragged lists, in NumPy. No TensorFlow, no files."""
