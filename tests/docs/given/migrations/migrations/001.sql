create table product (id int primary key, name text);
