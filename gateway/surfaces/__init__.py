"""API surfaces, one file each: what clients speak. Each has `routes(context)`."""
