create function purchase_total(wanted integer) returns numeric
    language sql stable
    return (
        select coalesce(sum(line.quantity * book.price), 0)
        from purchase_line as line
        join book using (book_id)
        where line.purchase_id = wanted
    );

create view best_seller as
    select book.title,
           author.name as author,
           sum(line.quantity) as sold,
           sum(line.quantity * book.price) as revenue
    from purchase_line as line
    join book using (book_id)
    join author using (author_id)
    group by book.book_id, book.title, author.name;
