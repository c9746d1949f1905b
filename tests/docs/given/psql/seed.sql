\copy product from products.csv csv
