"""The memory of the engine: one SQLite file, every record on disk before what follows from it is sent."""
