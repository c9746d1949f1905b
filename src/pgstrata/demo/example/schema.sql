-- A bookshop: its tables, and what is computed from them.
\ir schema/tables.sql
\ir schema/logic.sql
