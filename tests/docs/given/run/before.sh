git init -q -b main
git add .
git -c user.name=me -c user.email=me@example.com commit -qm 'All there is'
pgstrata prepare:psql --name dev -f schema.sql -f seed.sql 2> /dev/null
