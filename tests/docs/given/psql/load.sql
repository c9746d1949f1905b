select 1;

\! ls
