create table publisher (
    publisher_id integer generated always as identity primary key,
    name         text not null unique,
    city         text not null
);

create table author (
    author_id integer generated always as identity primary key,
    name      text not null unique
);

create table book (
    book_id      integer primary key,
    title        text not null,
    author_id    integer not null references author,
    publisher_id integer not null references publisher,
    published    integer not null check (published between 1450 and 2100),
    price        numeric(6, 2) not null check (price > 0)
);

create table customer (
    customer_id integer primary key,
    name        text not null,
    city        text not null,
    joined      date not null
);

create table purchase (
    purchase_id integer primary key,
    customer_id integer not null references customer,
    ordered_at  timestamptz not null
);

create table purchase_line (
    purchase_id integer not null references purchase,
    book_id     integer not null references book,
    quantity    integer not null check (quantity > 0),
    primary key (purchase_id, book_id)
);
