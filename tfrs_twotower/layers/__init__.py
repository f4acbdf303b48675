"""The second phase of a tower, in parts: tables, encoders of fields, attention, residual layers."""
