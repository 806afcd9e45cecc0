"""The way from an empty database to this version, one numbered file a change."""

HEAD = "0014"
