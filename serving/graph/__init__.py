"""The content of a SavedModel: the served model, its cascade, its signatures."""
