pgstrata prepare:psql --name dev -f schema.sql -f seed.sql 2> /dev/null
