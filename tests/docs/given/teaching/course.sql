create table planet (name text);
