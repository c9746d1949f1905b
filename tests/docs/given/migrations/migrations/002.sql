alter table product add price numeric;
