select max(id) from orders;
