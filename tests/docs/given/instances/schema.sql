create table visit (day date);
