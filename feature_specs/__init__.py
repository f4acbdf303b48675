"""Feature specs of public data sets, as package data. Part of tfrs-twotower."""
