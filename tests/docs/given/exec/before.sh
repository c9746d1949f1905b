ln -s "$(dirname "$(dirname "$(command -v pgstrata)")")" .venv
