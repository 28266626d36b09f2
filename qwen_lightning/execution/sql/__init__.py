"""SQL: static analysis from the schema, translation, and the engines that run it."""
