"""Stages, Beam transforms, data sets, run configs and the command line. Part of tfrs-twotower."""
