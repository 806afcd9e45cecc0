"""The rooms behind the front door, one file per kind of thing one can ask for."""
