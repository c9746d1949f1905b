-- A year of purchases.
\copy customer from 'data/customer.csv' with (format csv, header)
\copy purchase from 'data/purchase.csv' with (format csv, header)
\copy purchase_line from 'data/purchase_line.csv' with (format csv, header)

create index on purchase (customer_id, ordered_at);
create index on purchase_line (book_id);
analyze;
