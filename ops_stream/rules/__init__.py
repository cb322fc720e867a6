"""The rules: files in `conf/` checked and compiled into one bundle that decisions are made by."""
