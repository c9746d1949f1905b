eval "$(pgstrata prepare:psql -f migrations/001.sql -f migrations/002.sql 2> /dev/null)"
pg_dump -Fc "$DSN" > production.dump
