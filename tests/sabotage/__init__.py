"""Faults put into the code on purpose, one at a time, to see which test notices each."""
