git init -q -b main
git add .
git -c user.name=me -c user.email=me@example.com commit -qm 'All there is'
