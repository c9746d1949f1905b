insert into planet values ('Earth');
