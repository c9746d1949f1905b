"""A kind of another package than pgstrata: databases full of shouted lines."""
