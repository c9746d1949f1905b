create table product (id int primary key, name text);
create table tenant (name text);
insert into tenant values (:'tenant');
