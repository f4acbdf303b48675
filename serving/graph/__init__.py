"""What is in the SavedModel: the served model, its cascade, its signatures."""
