"""A first feature spec and run config from three tables (`twotower init`)."""
