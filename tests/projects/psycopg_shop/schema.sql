create table orders (id int primary key generated always as identity, what text not null);
