# A server that others' dumps come from, and a repository.
eval "$(pgstrata prepare:psql -c 'create database old' -c 'create schema app' -c 'create table app.t (n int)' 2> /dev/null)"
export PGHOST=127.0.0.1 PGUSER=postgres
PGPORT=${DSN##*:} PGPASSWORD=${DSN#*postgres:}
export PGPORT=${PGPORT%/*} PGPASSWORD=${PGPASSWORD%@*}
pg_dump -Fc postgres > backup.dump
pg_dump -Fd -f backup postgres
echo 'create table more (n int);' | gzip > changes.sql.gz
printf 'select 1;\n' | iconv -t UTF-16 > windows.sql
git init -q -b main
git add db
git -c user.name=me -c user.email=me@example.com commit -qm 'All there is'
