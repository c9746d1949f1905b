-- What a bookshop has before its first customer comes.
insert into publisher (name, city) values
    ('Heron & Daughters', 'Leeds'),
    ('Salt Marsh Press', 'Galway'),
    ('Lantern House', 'Utrecht'),
    ('Quarry Books', 'Porto');

insert into author (name) values
    ('Ada Brennan'), ('Tomas Lind'), ('Ines Carvalho'), ('Joris Vermeer'), ('Maeve Okafor'),
    ('Piotr Zielony'), ('Rosa Blum'), ('Samir Haddad'), ('Yuki Arai'), ('Wilma Stone');

\copy book from 'data/book.csv' with (format csv, header)
