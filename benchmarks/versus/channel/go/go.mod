module versus

go 1.18
